-- Studies at a hospital: what its data steward decided. Auth writes a row with its leaf.

create table vault.study_decision (
  study bytea not null,              -- SHA-256 of the canonical study
  leaf bigint not null,
  decided timestamptz not null,
  decision text not null check (decision in ('approve', 'refuse')),
  reason text not null,
  privacy text not null,             -- the class that was agreed to
  actor text not null,               -- the steward
  requester text not null,           -- who wrote the study
  categories integer[] not null,
  first_month integer,               -- year * 100 + month; null: from the first record on
  last_month integer,
  expires timestamptz not null,
  bundle bytea not null,             -- SHA-256 of the code bundle
  primary key (study, leaf)
);
grant select, insert on vault.study_decision to auth;

-- What the hospital's federation program reads under its leases: blocks and what proves them, no tail.
grant usage on schema vault to federation;
grant select on vault.block, vault.manifest, vault.manifest_group, vault.manifest_head, vault.patient_state,
  vault.lease to federation;
grant execute on function vault.tail_index(uuid[]) to federation;

create policy lease_federation on vault.lease for select to federation using (role = session_user);
create policy block_federation on vault.block for select to federation using (
  exists (select from vault.lease l where l.role = session_user and l.handle = block.handle
          and l.until > clock_timestamp() and block.tag = any (l.tags)));

create or replace function vault.end_readers_before(moment timestamptz) returns bigint
language sql volatile security definer set search_path = pg_catalog as $$
  select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
  where usename in ('twin', 'twin_worker', 'compactor', 'federation') and datname = current_database()
    and backend_type = 'client backend' and xact_start < moment
$$;
