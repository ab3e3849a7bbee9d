-- Jobs of the twin programs, their queue, and what a refit leaves. The queue (schema pgmq) was made just before
-- this from the SQL that the package pgmq ships; only role twin_jobs may use it. The table `job` is the outbox:
-- a message holds a job's id alone, and what a message may be lost or come twice of is decided here.

grant usage on schema pgmq to twin_jobs;
select pgmq.create('twin_jobs');
grant select on all tables in schema pgmq to twin_jobs;
grant select on all sequences in schema pgmq to twin_jobs;
grant insert, update, delete on pgmq.q_twin_jobs, pgmq.a_twin_jobs to twin_jobs;
-- Its client declares the queue at every connection: a queue that is there stays as it is.
alter function pgmq.create(text) security definer set search_path = pgmq, pg_catalog, pg_temp;

create table twin.job (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('refit')),
  key text not null unique,          -- asked twice is one job
  handle uuid not null,
  state text not null default 'waiting'
    check (state in ('waiting', 'running', 'done', 'refused', 'failed', 'cancelled')),
  progress smallint not null default 0,
  runs integer not null default 0,   -- how often it was begun
  reason text not null default '',   -- a word, never data
  asked timestamptz not null default clock_timestamp(),
  not_before timestamptz not null default clock_timestamp(),
  sent timestamptz,                  -- given to the broker; null: not yet, or to be sent again
  started timestamptz,
  ended timestamptz
);
create index job_open on twin.job (asked) where state in ('waiting', 'running');

create table twin.refit (
  handle uuid not null,
  tag bytea not null,
  month integer not null,            -- year * 100 + month of the model-state key
  version integer not null,
  seq bigint not null,               -- everything stored up to here was read
  state_ms bigint not null,          -- its place in the twin's own time
  job uuid not null unique references twin.job,
  at timestamptz not null default clock_timestamp(),
  blob bytea not null,
  primary key (handle, state_ms)
);

-- Whom a question found to be under 18: no refit at night.
create table twin.minor (handle uuid primary key, until date not null);

grant usage on schema vault, ingest, twin to twin_jobs;
grant select on vault.tail, vault.block, vault.manifest, vault.manifest_group, vault.manifest_head,
  vault.patient_state, vault.instance, vault.lease to twin_jobs;
grant select on ingest.receipt_batch to twin_jobs;
grant execute on function vault.tail_index(uuid[]) to twin_jobs;
grant select, insert, update on twin.job to twin_jobs;
grant select, insert on twin.refit to twin_jobs;
grant select, insert, update, delete on twin.minor to twin;
grant select on twin.minor to twin_jobs;
grant select, insert on twin.job to twin;
grant update (state, reason, not_before, sent, ended, progress) on twin.job to twin;
grant select on twin.refit to twin, twin_worker;

create policy lease_jobs on vault.lease for select to twin_jobs using (role = session_user);
create policy tail_jobs on vault.tail for select to twin_jobs using (
  exists (select from vault.lease l where l.role = session_user and l.handle = tail.handle
          and l.until > clock_timestamp() and tail.tag = any (l.tags)));
create policy block_jobs on vault.block for select to twin_jobs using (
  exists (select from vault.lease l where l.role = session_user and l.handle = block.handle
          and l.until > clock_timestamp() and block.tag = any (l.tags)));
alter table twin.refit enable row level security;
create policy refit_leased on twin.refit for select to twin, twin_worker, twin_jobs using (
  exists (select from vault.lease l where l.role = session_user and l.handle = refit.handle
          and l.until > clock_timestamp() and refit.tag = any (l.tags)));
create policy refit_write on twin.refit for insert to twin_jobs with check (
  exists (select from vault.lease l where l.role = session_user and l.handle = refit.handle
          and l.until > clock_timestamp() and refit.tag = any (l.tags)));

-- Whose twin has lived `days` of its own time since its last refit, without a row being seen. Three steps down an
-- index for each twin, however long it has lived: its newest and oldest snapshot, its newest refit. Those that live now
-- come first: twins that stand still, for want of consent, stay due and must not keep the others from their turn.
create function twin.refit_due(days double precision, most integer)
returns table (handle uuid, state_ms bigint)
language sql stable security definer set search_path = pg_catalog, twin as $$
  select p.handle, newest.state_ms from twin.position p
  cross join lateral (
    select s.state_ms from twin.snapshot s where s.handle = p.handle order by s.state_ms desc limit 1) newest
  cross join lateral (select coalesce(
    (select r.state_ms from twin.refit r where r.handle = p.handle order by r.state_ms desc limit 1),
    (select s.state_ms from twin.snapshot s where s.handle = p.handle order by s.state_ms limit 1)) as ms) since
  where newest.state_ms - since.ms >= days * 86400000
    and not exists (select from twin.minor m where m.handle = p.handle and m.until > current_date)
  order by 2 desc limit most
$$;
revoke all on function twin.refit_due(double precision, integer) from public;
grant execute on function twin.refit_due(double precision, integer) to twin_jobs;

-- The twin's door opens the Patient resource of whom it answers about: how old.
grant select on vault.tail, vault.instance to twin;
grant usage on schema ingest to twin;
grant select on ingest.receipt_batch to twin;
create policy tail_twin on vault.tail for select to twin using (
  exists (select from vault.lease l where l.role = session_user and l.handle = tail.handle
          and l.until > clock_timestamp() and tail.tag = any (l.tags)));

create or replace function vault.end_readers_before(moment timestamptz) returns bigint
language sql volatile security definer set search_path = pg_catalog as $$
  select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
  where usename in ('twin', 'twin_worker', 'twin_jobs', 'compactor', 'federation')
    and datname = current_database() and backend_type = 'client backend' and xact_start < moment
$$;
