-- Scores of assessments that have ended, for the cohort that instructors see. Training is its learner's own and has none.

create table teaching.result (
  session uuid primary key references teaching.session on delete cascade,
  score double precision,            -- 0 to 100; null: it cannot be lived again with what is installed
  times bytea not null,              -- JSON: critical action -> seconds from its clock, or null
  made timestamptz not null
);
grant select, insert, delete on teaching.result to sessions;
