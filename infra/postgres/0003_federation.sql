-- Studies between hospitals: the coordinator's own books. No patient is in them: hashes, decisions, sums.
-- Two programs write as role `coordinator`: the coordinator itself, and the ServerApp of a run (rounds.py),
-- whose every write names its attempt, so that one which was given up writes nothing any more.

create schema fed;
grant usage on schema fed to coordinator;

create table fed.site (
  id text primary key,
  state text not null check (state in ('invited', 'joined', 'left', 'removed')),
  node_key bytea,                    -- public key of its SuperNode
  node numeric(20),                  -- Flower's number for it; null: not registered
  certificate bytea,                 -- SHA-256 of what it was given last
  previous bytea,                    -- ... and of the one it asked for that with
  certificate_until timestamptz,
  seen timestamptz,                  -- by this database's clock
  life bigint not null default 0,    -- which life of its SuperNode and executor; 0: they do not run
  version text not null default '',
  leaf bigint                        -- of its joining, leaving or removal
);
create table fed.join_token (
  sha256 bytea primary key,          -- of the secret, which is kept nowhere
  site text not null references fed.site,
  issued timestamptz not null,
  until timestamptz not null,
  used timestamptz,
  refused integer not null default 0 -- how often it was shown and not taken
);
create index join_token_site on fed.join_token (site);

-- `attempt` is the only one that may write rounds; `failures` are attempts that ended by themselves since the
-- last round or the last person's wish.
create table fed.study (
  number bigint generated always as identity primary key,
  hash bytea not null unique,        -- SHA-256 of canonical
  canonical bytea not null,
  bundle bytea not null,             -- SHA-256 of the code bundle
  title text not null,
  author text not null,
  privacy text not null,
  sites text[] not null,             -- who is asked; empty: every joined hospital
  minimum_sites integer not null,
  most_rounds integer not null,
  state text not null default 'submitted'
    check (state in ('submitted', 'running', 'stopping', 'stopped', 'done', 'failed')),
  note text not null default '',
  submitted timestamptz not null,
  changed timestamptz not null,
  leaf bigint not null,              -- of the submission
  run_leaf bigint,                   -- of the last wish to run, stop or resume
  end_leaf bigint,                   -- of the last end
  attempt integer not null default 0,
  failures integer not null default 0,
  round integer not null default 0,  -- the last that is done
  events bigint not null default 0   -- the last event's number
);
create index study_going on fed.study (number) where state in ('running', 'stopping');
create table fed.answer (
  study bigint not null references fed.study,
  site text not null references fed.site,
  decision text not null check (decision in ('approve', 'refuse')),
  reason text not null,
  decided timestamptz not null,
  expires timestamptz not null,
  leaf bigint not null,              -- in the site's own ledger
  primary key (study, site)
);
create table fed.run (
  study bigint not null references fed.study,
  attempt integer not null,
  flower numeric(20),                -- Flower's number; null: it was not told yet
  started timestamptz not null,
  began timestamptz,                 -- its ServerApp works, and holds the study's advisory lock while it does
  ended timestamptz,
  outcome text not null default '',
  primary key (study, attempt)
);
create table fed.round (
  study bigint not null references fed.study,
  number integer not null,
  attempt integer not null,
  step text not null,
  asked text[] not null,
  answered text[] not null,
  refused jsonb not null,            -- site -> public word
  seconds double precision not null,
  metrics jsonb not null,            -- word -> number
  leaf bigint,                       -- null: its entry waits in fed.due
  primary key (study, number)
);
create table fed.checkpoint (        -- the last few of a study
  study bigint not null references fed.study,
  round integer not null,
  state bytea not null,
  sha256 bytea not null,
  primary key (study, round)
);
create table fed.event (
  study bigint not null references fed.study,
  number bigint not null,
  at timestamptz not null,
  kind text not null,
  text text not null,
  round integer,
  primary key (study, number)
);
create table fed.result (
  study bigint primary key references fed.study,
  model bytea not null,
  card bytea not null,
  report bytea not null
);
-- Entries of the ledger that are decided and not written: a round's, a study's end. The next round waits for them.
create table fed.due (
  number bigint generated always as identity primary key,
  study bigint not null references fed.study,
  round integer,                     -- null: the study's end
  body jsonb not null
);
create index due_study on fed.due (study);
-- The coordinator's own pulse: while it is down nobody's `seen` means anything.
create table fed.pulse (
  one boolean primary key default true check (one),
  since timestamptz not null,
  at timestamptz not null
);

grant select, insert, update on fed.site, fed.join_token, fed.study, fed.answer, fed.run, fed.round, fed.result,
  fed.pulse to coordinator;
grant select, insert on fed.event to coordinator;
grant select, insert, delete on fed.checkpoint, fed.due to coordinator;
