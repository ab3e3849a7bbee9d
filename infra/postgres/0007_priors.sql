-- Priors of the population: files by their hash, and which one is in force since when. What states are made with,
-- reports of rebuilding them, and what happened to a twin that no row of a patient tells.

create table twin.prior (
  hash bytea primary key check (length(hash) = 32),  -- SHA-256 of the file
  body bytea not null,
  at timestamptz not null default clock_timestamp()
);
create table twin.adoption (
  n bigint generated always as identity primary key,
  hash bytea not null references twin.prior,
  back boolean not null,             -- to one that was in force before
  leaf bigint,                       -- the ledger's entry; written before this row can be seen
  at timestamptz not null default clock_timestamp()
);

-- "model prior-hash" of the newest snapshot.
alter table twin.position add made text not null default '';

-- One row a change of what states are made with; numbers over all twins only.
create table twin.migration (
  from_made text not null,
  to_made text not null,
  begun timestamptz not null default clock_timestamp(),
  last timestamptz not null default clock_timestamp(),
  twins bigint not null default 0,
  readings bigint not null default 0,         -- replayed
  compared bigint not null default 0,         -- whose last forecast for 60 min could be made again
  greatest double precision not null default 0,  -- difference between them, mg/dL
  primary key (from_made, to_made)
);

-- Of one twin; the newest few of each kind are kept.
create table twin.event (
  handle uuid not null,
  at timestamptz not null default clock_timestamp(),
  what text not null check (what in ('migration', 'correction')),
  from_ms bigint not null,           -- from here on it was replayed; 0: from the start
  note text not null,                -- never a value of the patient
  primary key (handle, at)
);

alter table twin.job drop constraint job_kind_check;
alter table twin.job add constraint job_kind_check check (kind in ('refit', 'rebuild'));

grant select on twin.prior, twin.adoption to twin, twin_worker, twin_jobs;
grant insert on twin.prior to twin;
grant insert, update (leaf) on twin.adoption to twin;
grant select on twin.migration, twin.event to twin;
grant select, insert, update on twin.migration to twin_worker;
grant select, insert, delete on twin.event to twin_worker;
grant select on twin.position to twin_jobs;
grant select, insert, update on twin.pending to twin_jobs;

alter table twin.event enable row level security;
create policy event_leased on twin.event for all to twin_worker
  using (exists (select from vault.lease l where l.role = session_user and l.handle = event.handle
                 and l.until > clock_timestamp()));
create policy event_read on twin.event for select to twin
  using (exists (select from vault.lease l where l.role = session_user and l.handle = event.handle
                 and l.until > clock_timestamp()));
