/* The circulation of twinward/physiology/circulation.py in C, for a fair comparison of speed: same equations, same
   operations, same step. Parameters, states and columns in the order of circulation_meaning.py. */
#include <math.h>
#include <string.h>

#define NX 36
#define NS 10

static double contraction(double phase, double T, double duration) {
  if (phase * T >= duration) return 0.0;
  double s = sin(M_PI * (phase * T / duration));
  return s * s;
}
static double outflow(double P, double Pa, double kR) { return P > Pa && P > 0.0 ? (P - Pa) / (kR * P) : 0.0; }
static double inflow(double Pat, double Pv, double R) { return Pat > Pv ? (Pat - Pv) / R : 0.0; }
static double drive(double late, double fesmin) {
  double over = late - fesmin;
  return log((over > 0.0 ? over : 0.0) + 1.0);
}

static void derivative(const double *x, const double *p, double bleed, double blood, double fluid, double *d,
                       double *o) {
  double T = p[66] + x[27] + x[28];
  if (T < 0.3) T = 0.3;
  double root = sqrt(T), phase = x[0] - floor(x[0]);
  double phi = contraction(phase, T, p[37] - p[36] / T);
  double ahead = phase + 0.19 / root;
  double a = contraction(ahead - floor(ahead), T, 0.25 * root);
  double Pla = (p[20] + (p[21] - p[20]) * a) * (x[6] - p[22]);
  double Pra = (p[24] + (p[25] - p[24]) * a) * (x[8] - p[26]);
  double Pl = phi * (p[60] + x[21]) * (x[7] - p[30]) + (1 - phi) * p[28] * (exp(p[29] * x[7]) - 1);
  double Pr = phi * (p[61] + x[22]) * (x[9] - p[34]) + (1 - phi) * p[32] * (exp(p[33] * x[9]) - 1);
  double Fl = outflow(Pl, x[1], p[31]), Fr = outflow(Pr, x[10], p[35]);
  double Plv = Pl - p[31] * Pl * Fl, Prv = Pr - p[35] * Pr * Fr;
  double Fmi = inflow(Pla, Plv, p[23]), Ftr = inflow(Pra, Prv, p[27]);
  double Rsp = p[62] + x[23] + x[31], Rep = p[63] + x[24] + x[31];
  double Psv = (x[5] - (p[64] + x[25] + 0.6 * x[30])) / p[3];
  double Pev = (x[4] - (p[65] + x[26] + 0.4 * x[30])) / p[4];
  double Fsp = (x[3] - Psv) / Rsp, Fep = (x[3] - Pev) / Rep, Fsv = (Psv - Pra) / p[9], Fev = (Pev - Pra) / p[10];
  double Fpp = (x[12] - x[13]) / p[12], Fpv = (x[13] - Pla) / p[13];
  d[29] = blood - bleed;
  d[32] = p[70] * (-p[71] * x[29] - x[32]);
  double crossing = p[72] * x[33] - p[73] * x[34], passed = p[74] * x[33];
  d[33] = fluid - crossing - passed;
  d[34] = crossing;
  d[35] = passed;
  double q = d[29] + d[32] + d[33];
  d[0] = 1 / T;
  d[1] = (Fl - x[2]) / p[0];
  d[2] = (x[1] - x[3] - p[8] * x[2]) / p[14];
  d[3] = (x[2] - Fsp - Fep) / (p[1] + p[2]);
  d[5] = Fsp - Fsv + 0.55 * q;
  d[4] = Fep - Fev + 0.45 * q;
  d[6] = Fpv - Fmi;
  d[7] = Fmi - Fl;
  d[8] = Fsv + Fev - Ftr;
  d[9] = Ftr - Fr;
  d[10] = (Fr - x[11]) / p[5];
  d[11] = (x[10] - x[12] - p[11] * x[11]) / p[15];
  d[12] = (x[11] - Fpp) / p[6];
  d[13] = (Fpp - Fpv) / p[7];
  d[14] = (x[1] + p[42] * d[1] - x[14]) / p[43];
  double z = (x[14] - p[38]) / p[39];
  double e = exp(z < 30.0 ? z : 30.0);
  double fcs = (p[40] + p[41] * e) / (1 + e);
  double fes = p[44] + (p[45] - p[44]) * exp(-p[46] * fcs);
  double y = exp((fcs - p[50]) / p[51]);
  double fev = (p[48] + p[49] * y) / (1 + y);
  d[15] = 1.5 * (fes - x[15]);
  d[16] = 1.5 * (x[15] - x[16]);
  d[17] = 1.5 * (x[16] - x[17]);
  d[18] = 0.6 * (fes - x[18]);
  d[19] = 0.6 * (x[18] - x[19]);
  d[20] = 0.6 * (x[19] - x[20]);
  double early = drive(x[17], p[47]), late = drive(x[20], p[47]);
  d[21] = (p[52] * early - x[21]) / 8;
  d[22] = (p[53] * early - x[22]) / 8;
  d[23] = (p[54] * early - x[23]) / 6;
  d[24] = (p[55] * early - x[24]) / 6;
  d[25] = (p[56] * late - x[25]) / 20;
  d[26] = (p[57] * late - x[26]) / 20;
  d[27] = (p[58] * early - x[27]) / 2;
  d[28] = (p[59] * fev - x[28]) / 1.5;
  double delta = 5 * atan((Pra - p[69]) / 5);
  d[30] = (p[67] * delta - x[30]) / 20;
  d[31] = (p[68] * delta - x[31]) / 8;
  double seen[NS] = {T, Pra, Pla, Plv, Prv, Fl, Rsp, Rep, fes, fev};
  memcpy(o, seen, sizeof seen);
}

void run(const double *p, double *x, long steps, double h, double bleed, double blood, double fluid, double *sums) {
  double k1[NX], k2[NX], k3[NX], k4[NX], y[NX], seen[NS], unseen[NS];
  for (long s = 0; s < steps; s++) {
    derivative(x, p, bleed, blood, fluid, k1, seen);
    for (int i = 0; i < NX; i++) {
      sums[i] += h * x[i];
      y[i] = x[i] + 0.5 * h * k1[i];
    }
    for (int i = 0; i < NS; i++) sums[NX + i] += h * seen[i];
    derivative(y, p, bleed, blood, fluid, k2, unseen);
    for (int i = 0; i < NX; i++) y[i] = x[i] + 0.5 * h * k2[i];
    derivative(y, p, bleed, blood, fluid, k3, unseen);
    for (int i = 0; i < NX; i++) y[i] = x[i] + h * k3[i];
    derivative(y, p, bleed, blood, fluid, k4, unseen);
    for (int i = 0; i < NX; i++) x[i] += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]);
  }
}
