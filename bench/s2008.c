/* S2008 in C: the equations of twinward/physiology/glucose.py, to be timed beside them (python -m bench.twin).
   Dalla Man, Rizza, Cobelli, IEEE Trans Biomed Eng 54:1740 (2007). Minute, mg/kg, pmol/kg. */
#include <math.h>

enum { BW, KABS, KMAX, KMIN, B, D, VG, VI, VMX, KM0, K2, K1, P2U, M1, M2, M4, M30, KI, KP1, KP2, KP3, F, KE1, KE2,
       FSNC, VM0, KD, KSC, KA1, KA2, U2SS, IB };
enum { QSTO1, QSTO2, QGUT, GP, GT, IP, X, I1, ID, IL, ISC1, ISC2, GS, WIDE };

/* As there: through one exponential, which is faster than the library's. */
static double tangent(double a) { return 1 - 2 / (exp(2 * a) + 1); }

static void derivative(const double *x, const double *p, double eaten, double u, double dose, double *dx)
{
    double kgut = p[KMAX], q = x[QSTO1] + x[QSTO2];
    if (dose > 0) {
        double alpha = 5 / (2 * dose * (1 - p[B])), beta = 5 / (2 * dose * p[D]);
        kgut = p[KMIN] + (p[KMAX] - p[KMIN]) / 2
             * (tangent(alpha * (q - p[B] * dose)) - tangent(beta * (q - p[D] * dose)) + 2);
    }
    double ground = p[KMAX] * x[QSTO1], emptied = kgut * x[QSTO2];
    dx[QSTO1] = eaten - ground;
    dx[QSTO2] = ground - emptied;
    dx[QGUT] = emptied - p[KABS] * x[QGUT];
    double ra = p[F] * p[KABS] * x[QGUT] / p[BW];
    double made = p[KP1] - p[KP2] * x[GP] - p[KP3] * x[ID], over = x[GP] - p[KE2], speed = p[VM0] + p[VMX] * x[X];
    if (made < 0) made = 0;
    if (over < 0) over = 0;
    if (speed < 0) speed = 0;
    double exchange = p[K1] * x[GP] - p[K2] * x[GT];
    dx[GP] = made + ra - p[FSNC] - p[KE1] * over - exchange;
    dx[GT] = exchange - speed * x[GT] / (p[KM0] + x[GT]);
    dx[IP] = -(p[M2] + p[M4]) * x[IP] + p[M1] * x[IL] + p[KA1] * x[ISC1] + p[KA2] * x[ISC2];
    dx[IL] = -(p[M1] + p[M30]) * x[IL] + p[M2] * x[IP];
    dx[ISC1] = u - (p[KD] + p[KA1]) * x[ISC1];
    dx[ISC2] = p[KD] * x[ISC1] - p[KA2] * x[ISC2];
    double level = x[IP] / p[VI];
    dx[X] = p[P2U] * (level - p[IB] - x[X]);
    dx[I1] = p[KI] * (level - x[I1]);
    dx[ID] = p[KI] * (x[I1] - x[ID]);
    dx[GS] = p[KSC] * (x[GP] - x[GS]);
}

void simulate(const double *restrict p, double *restrict x, double *restrict memory, const double *restrict grams,
              const double *restrict units, long minutes, double *restrict out)
{
    double k1[WIDE], k2[WIDE], k3[WIDE], k4[WIDE], y[WIDE];
    for (long t = 0; t < minutes; t++) {
        if (grams[t] > 0) {
            if (memory[2] == 0) {
                memory[0] = x[QSTO1] + x[QSTO2];
                memory[1] = 0;
                memory[2] = 1;
            }
            memory[1] += grams[t];
        } else {
            memory[2] = 0;
        }
        double dose = memory[0] + memory[1] * 1000, eaten = grams[t] * 1000, u = units[t] * 6000 / p[BW];
        derivative(x, p, eaten, u, dose, k1);
        for (int i = 0; i < WIDE; i++) y[i] = x[i] + 0.5 * k1[i];
        derivative(y, p, eaten, u, dose, k2);
        for (int i = 0; i < WIDE; i++) y[i] = x[i] + 0.5 * k2[i];
        derivative(y, p, eaten, u, dose, k3);
        for (int i = 0; i < WIDE; i++) y[i] = x[i] + k3[i];
        derivative(y, p, eaten, u, dose, k4);
        for (int i = 0; i < WIDE; i++) {
            x[i] += (k1[i] + 2 * (k2[i] + k3[i]) + k4[i]) / 6;
            if (i != X && x[i] < 0) x[i] = 0;
        }
        out[t] = x[GS] / p[VG];
    }
}
