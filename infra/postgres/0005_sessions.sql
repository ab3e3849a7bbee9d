-- Teaching sessions: the learner's own log. No patient is in them: cases are written, bodies are made.
-- Role `sessions` alone reads and writes here, and nothing else of the database is its.

create schema teaching;
grant usage on schema teaching to sessions;

create table teaching.session (
  id uuid primary key,               -- the client's chance: opening twice is one session
  owner text not null,               -- pseudonym at the identity provider
  case_id text not null,
  case_version integer not null,
  case_sha256 bytea not null,
  case_body bytea not null,          -- the case as it was: a session outlives an edit of its file
  seed numeric(20) not null,
  mode text not null check (mode in ('training', 'assessment')),
  model text not null,
  state text not null default 'open' check (state in ('open', 'ended')),
  ending text not null default '',   -- how it ended
  reached_s bigint not null default 0, -- how far its time was seen to go; written every few seconds
  parent uuid,                       -- what it was forked from; may be erased
  parent_s bigint,
  created timestamptz not null,
  touched timestamptz not null,      -- last time somebody did something in it
  leaf bigint not null,              -- of its opening
  end_leaf bigint                    -- null: it has not ended, or its entry waits for auth
);
create index session_owner on teaching.session (owner, created desc);
create index session_open on teaching.session (created desc) where state = 'open';
create index session_due on teaching.session (id) where state = 'ended' and end_leaf is null;

-- Written before the command is acknowledged. A session is its case, its seed and these.
create table teaching.entry (
  session uuid not null references teaching.session on delete cascade,
  n integer not null,
  command bytea not null,            -- the client's id: a command sent twice is done once
  at_s bigint not null,              -- the patient's time
  at timestamptz not null,
  by_role text not null,
  body bytea not null,               -- JSON
  primary key (session, n),
  unique (session, command)
);

-- That somebody was assessed on a case, kept when the session is erased: the first attempt counts.
create table teaching.attempt (
  owner text not null,
  case_id text not null,
  primary key (owner, case_id)
);

grant select, insert, update, delete on teaching.session to sessions;
grant select, insert, delete on teaching.entry to sessions;
grant select, insert on teaching.attempt to sessions;
