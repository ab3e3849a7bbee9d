-- The store of one hospital. Handles are random; categories appear only as tags.
-- One role per program, none superuser. Rows of a patient are served only to a
-- role that has a live row in `lease`: row-level security, not the programs,
-- is the last word.

create schema vault;
create schema ledger;
create schema ingest;
create schema twin;

-- Keys and consent: auth alone ------------------------------------------------

create table vault.patient_key (
  handle uuid primary key,
  epoch integer not null,
  wrapped bytea not null,
  state text not null default 'live' check (state in ('live', 'erased'))
);
create table vault.audit_key (
  id bigint generated always as identity primary key,
  handle uuid,                      -- null: the site's own key of that year
  year smallint not null,
  epoch integer not null,
  wrapped bytea not null
);
create unique index audit_key_owner on vault.audit_key (coalesce(handle, '00000000-0000-0000-0000-000000000000'::uuid), year);
create table vault.blind_index (idx uuid primary key, handle uuid not null);
create table vault.consent (
  handle uuid not null,
  sha256 bytea not null,
  received timestamptz not null,
  source text not null,
  verified boolean not null,
  active boolean not null,
  sealed bytea not null,
  primary key (handle, sha256)
);
create table vault.care_team (
  handle uuid not null,
  actor text not null,
  starts timestamptz not null,
  ends timestamptz,
  source text not null,
  primary key (handle, actor, starts)
);
create index care_team_actor on vault.care_team (actor, handle);
create table vault.feed (
  name text primary key,
  approvals text[] not null default '{}',   -- identity, merge, care_team, consent
  leaf bigint
);
create table vault.intake_consent (
  id bigint generated always as identity primary key,
  handle uuid,
  feed_index uuid,
  feed text not null,
  kind text not null check (kind in ('consent', 'care_team')),
  received timestamptz not null,
  blob bytea not null,
  applied timestamptz,
  outcome text
);
create index intake_consent_waiting on vault.intake_consent (id) where applied is null;

-- What ingest needs to seal ----------------------------------------------------

create table vault.feed_index (idx uuid primary key, handle uuid not null);
create table vault.instance (
  id uuid primary key,
  program text not null,
  public_key bytea not null,
  signature bytea not null,          -- by the site's vault authority
  since timestamptz not null
);
create table vault.public_key_set (
  id bigint generated always as identity primary key,
  handle uuid not null,
  version integer not null,
  valid_until timestamptz not null,
  signature bytea not null
);
create index public_key_set_handle on vault.public_key_set (handle, version);
create index public_key_set_until on vault.public_key_set (valid_until);
create table vault.public_key (
  set_id bigint not null references vault.public_key_set on delete cascade,
  handle uuid not null,
  tag bytea not null,
  version integer not null,
  month integer not null,            -- year * 100 + month of receipt
  valid_from timestamptz not null,
  valid_until timestamptz not null,
  public_key bytea not null,
  primary key (handle, tag, version, month)
);
create index public_key_set_id on vault.public_key (set_id);
create table vault.patient_state (
  handle uuid primary key,
  next_seq bigint not null default 1,
  chain bytea not null,
  version integer not null default 1,
  refused_tags bytea[] not null default '{}',
  erased boolean not null default false
);

-- Leases -----------------------------------------------------------------------

create table vault.lease (
  id uuid primary key,
  role name not null,
  handle uuid not null,
  tags bytea[] not null,
  purpose text not null,
  issued timestamptz not null,
  until timestamptz not null,
  leaf bigint not null,
  actor text not null
);
create index lease_live on vault.lease (role, handle, until);
create index lease_until on vault.lease (until);

-- Data: tail, blocks, manifests ------------------------------------------------

create table vault.tail (
  handle uuid not null,
  seq bigint not null,
  tag bytea not null,
  version integer not null,
  received_month integer not null,   -- year * 100 + month
  n integer not null,                -- padded to a power of two
  receipt bigint not null,           -- ingest.receipt_batch.id
  place integer not null,            -- of this row in that batch
  blob bytea not null,
  primary key (handle, seq)
) partition by hash (handle);
create table vault.block (
  handle uuid not null,
  tag bytea not null,
  version integer not null,
  bucket integer not null,           -- yyyymmdd, dd = 00 for a month, 0 for 0000-00
  seq integer not null,
  n integer not null,                -- padded to a power of two
  blob bytea storage external not null,   -- ciphertext: compressing it only costs time
  primary key (handle, tag, version, bucket, seq)
) partition by hash (handle);
do $$
begin
  for i in 0..7 loop
    execute format('create table vault.tail_%s partition of vault.tail for values with (modulus 8, remainder %s)', i, i);
    execute format('create table vault.block_%s partition of vault.block for values with (modulus 8, remainder %s)', i, i);
  end loop;
end $$;
create index tail_tag on vault.tail (handle, tag);
create table vault.manifest (
  handle uuid not null,
  tag bytea not null,
  version integer not null,
  bucket integer not null,
  blocks integer not null,
  n integer not null,
  commitments bytea not null,
  primary key (handle, tag, version, bucket)
);
create table vault.manifest_group (
  handle uuid not null,
  tag bytea not null,
  version integer not null,
  year smallint not null,
  root bytea not null,
  primary key (handle, tag, version, year)
);
create table vault.manifest_head (
  handle uuid primary key,
  root bytea not null,
  mac bytea not null,
  next_seq bigint not null,
  chain bytea not null,
  previous bytea,
  at timestamptz not null
);
create table vault.compaction_run (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  units integer not null,
  tail_rows integer not null,
  items bigint not null,             -- true count moved from tail to blocks
  superseded bigint not null,
  blocks integer not null
);

-- Ingest's own books -------------------------------------------------------------

create table ingest.receipt (
  key uuid primary key,              -- HMAC(feed_idx, source, type, id, version)[:16]
  lineage uuid not null,             -- HMAC(feed_idx, source, type, id)[:16]
  body_hash uuid not null,           -- SHA-256 of the entry's bytes, first 16 bytes
  tag bytea,
  bucket integer
);
create index receipt_lineage on ingest.receipt (lineage);
create table ingest.answer (
  key uuid primary key,
  body_hash bytea not null,
  answer bytea not null,
  at timestamptz not null
);
create index answer_at on ingest.answer (at);
create table ingest.receipt_batch (
  id bigint primary key,
  feed text not null,
  instance uuid not null,
  at timestamptz not null,
  accepted bigint not null,          -- true count of items sealed to patients
  dropped bigint not null,
  duplicates bigint not null,
  intake bigint not null,
  quarantined bigint not null,
  rows bytea not null,               -- 16-byte hashes of the tail rows, in order
  root bytea not null,
  signature bytea not null,
  folded bigint                      -- ledger index
);
create sequence ingest.receipt_batch_id;
create index receipt_batch_unfolded on ingest.receipt_batch (id) where folded is null;
create table ingest.intake (
  id bigint generated always as identity primary key,
  feed_index uuid,                   -- null where no patient could be read
  feed text not null,
  received timestamptz not null,
  reason text not null,
  kind text not null check (kind in ('intake', 'quarantine')),
  state text not null default 'waiting' check (state in ('waiting', 'filed', 'dropped')),
  key_id integer not null,
  items integer not null,
  blob bytea not null
);
create index intake_waiting on ingest.intake (id) where state = 'waiting';
create index intake_patient on ingest.intake (feed_index) where state = 'waiting';
create table ingest.unmapped (
  system text not null,
  code text not null,
  unit text not null,
  feed text not null,
  count bigint not null,
  first timestamptz not null,
  last timestamptz not null,
  primary key (system, code, unit, feed)
);

-- Twins --------------------------------------------------------------------------

create table twin.pending (handle uuid primary key, seq bigint not null);
create table twin.position (
  handle uuid primary key,
  seq bigint not null,
  month integer not null,
  snapshot_hash bytea not null,
  at timestamptz not null
);
create table twin.snapshot (
  handle uuid not null,
  tag bytea not null,
  month integer not null,            -- year * 100 + month of the model-state key
  version integer not null,
  seq bigint not null,
  state_ms bigint not null,          -- the twin's own time
  kind text not null check (kind in ('latest', 'hour', 'day', 'month')),
  blob bytea not null,
  primary key (handle, state_ms, seq)
);

-- Ledger ---------------------------------------------------------------------------

create table ledger.entry (
  idx bigint primary key,
  kind smallint not null,
  at bigint not null,                -- coarse, seconds
  entry bytea not null
);
create table ledger.body (
  idx bigint primary key references ledger.entry,
  audit_key bigint not null,
  sealed bytea not null              -- salt and canonical JSON
);
create table ledger.term (term bytea not null, idx bigint not null, primary key (term, idx));
create table ledger.head (
  one boolean primary key default true check (one),
  size bigint not null,
  root bytea not null,
  edge bytea not null,               -- the right edge: roots of complete subtrees
  note text not null,
  fence bigint not null,
  published_size bigint not null default 0,
  published_at timestamptz
);

-- Rights ----------------------------------------------------------------------------

grant usage on schema vault to auth, ingest, filer, compactor, twin, twin_worker;
grant usage on schema ledger to auth;
grant usage on schema ingest to auth, ingest, filer, compactor, twin_worker;
grant usage on schema twin to auth, ingest, filer, twin, twin_worker;

grant select, insert, update, delete on vault.patient_key, vault.audit_key, vault.blind_index,
  vault.consent, vault.care_team, vault.feed, vault.feed_index, vault.instance,
  vault.public_key_set, vault.public_key, vault.patient_state, vault.lease,
  vault.manifest_group, vault.manifest_head to auth;
grant select, update on vault.intake_consent to auth;
grant select on vault.manifest, vault.tail, vault.compaction_run to auth;
grant select, update (folded) on ingest.receipt_batch to auth;
grant select, insert, update on twin.pending to auth;
grant select (id, key_id, state) on ingest.intake to auth;
grant select on twin.position to auth;
grant select, insert, update on ledger.entry, ledger.body, ledger.term, ledger.head to auth;
grant delete on ledger.body, ledger.term to auth;

grant insert on vault.tail to ingest, filer;
grant insert on vault.intake_consent to ingest, filer;
grant select on vault.feed, vault.feed_index, vault.instance, vault.public_key_set, vault.public_key to ingest, filer;
grant select, update (next_seq, chain) on vault.patient_state to ingest, filer;
grant select, insert on ingest.receipt to ingest, filer;
grant select, insert, delete on ingest.answer to ingest, filer;
grant select, insert on ingest.receipt_batch to ingest, filer;
grant usage on sequence ingest.receipt_batch_id to ingest, filer;
grant insert, select (id, feed_index, feed, received, reason, kind, state, items), update (state, kind, reason) on ingest.intake to ingest;
grant select, update, insert on ingest.intake to filer;
grant select, insert, update on ingest.unmapped to ingest, filer;
grant select, insert, update on twin.pending to ingest, filer;

grant select, delete on vault.tail to compactor;
grant select, insert, delete on vault.block to compactor;
grant select, insert, update, delete on vault.manifest to compactor;
grant select on vault.manifest_group, vault.manifest_head, vault.patient_state, vault.instance, vault.lease to compactor;
grant select on ingest.receipt_batch to compactor;
grant insert, select on vault.compaction_run to compactor;

grant select on vault.tail, vault.block, vault.manifest, vault.manifest_group, vault.manifest_head,
  vault.patient_state, vault.instance, vault.lease to twin_worker;
grant select on ingest.receipt_batch to twin_worker;
grant select, update (seq), delete on twin.pending to twin_worker;  -- update: for `for update skip locked`
grant select, insert, update on twin.position to twin_worker;
grant select, insert, delete on twin.snapshot to twin_worker;

grant select on vault.block, vault.manifest, vault.manifest_group, vault.manifest_head,
  vault.patient_state, vault.lease, twin.snapshot, twin.position to twin;

-- The compactor finds its work without seeing a row: which (handle, tag) have tail.
create function vault.tail_backlog(most integer)
returns table (handle uuid, tag bytea, tail_rows bigint)
language sql stable security definer set search_path = pg_catalog, vault as $$
  select t.handle, t.tag, count(*) from vault.tail t group by 1, 2 order by 3 desc limit most
$$;
revoke all on function vault.tail_backlog(integer) from public;
grant execute on function vault.tail_backlog(integer) to compactor, twin;

-- Which rows a patient's tail must have, without what is in them: whoever reads a part
-- of it can tell "not leased to me" from "missing" and check the chain over all.
create function vault.tail_index(handles uuid[])
returns table (handle uuid, seq bigint, tag bytea, receipt bigint, place integer)
language sql stable security definer set search_path = pg_catalog, vault as $$
  select t.handle, t.seq, t.tag, t.receipt, t.place from vault.tail t where t.handle = any (handles)
$$;
revoke all on function vault.tail_index(uuid[]) from public;
grant execute on function vault.tail_index(uuid[]) to compactor, twin, twin_worker;

-- A snapshot from before a revocation still shows the lease as it was: auth ends such readers.
-- The owner role needs pg_signal_backend and pg_read_all_stats for this (infra/embedded/postgres.py).
create function vault.end_readers_before(moment timestamptz) returns bigint
language sql volatile security definer set search_path = pg_catalog as $$
  select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
  where usename in ('twin', 'twin_worker', 'compactor') and datname = current_database()
    and backend_type = 'client backend' and xact_start < moment
$$;
revoke all on function vault.end_readers_before(timestamptz) from public;
grant execute on function vault.end_readers_before(timestamptz) to auth;

-- Row-level security -------------------------------------------------------------

alter table vault.lease enable row level security;
create policy lease_auth on vault.lease to auth using (true) with check (true);
create policy lease_own on vault.lease for select to compactor, twin, twin_worker using (role = session_user);

alter table vault.tail enable row level security;
create policy tail_write on vault.tail for insert to ingest, filer with check (true);
create policy tail_count on vault.tail for select to auth using (true);
create policy tail_leased on vault.tail for select to compactor, twin_worker using (
  exists (select from vault.lease l where l.role = session_user and l.handle = tail.handle
          and l.until > clock_timestamp() and tail.tag = any (l.tags)));
create policy tail_compact on vault.tail for delete to compactor using (
  exists (select from vault.lease l where l.role = session_user and l.handle = tail.handle
          and l.until > clock_timestamp() and tail.tag = any (l.tags)));

alter table vault.block enable row level security;
create policy block_leased on vault.block for select to compactor, twin, twin_worker using (
  exists (select from vault.lease l where l.role = session_user and l.handle = block.handle
          and l.until > clock_timestamp() and block.tag = any (l.tags)));
create policy block_write on vault.block for insert to compactor with check (
  exists (select from vault.lease l where l.role = session_user and l.handle = block.handle
          and l.until > clock_timestamp() and block.tag = any (l.tags)));
create policy block_compact on vault.block for delete to compactor using (
  exists (select from vault.lease l where l.role = session_user and l.handle = block.handle
          and l.until > clock_timestamp() and block.tag = any (l.tags)));

alter table twin.snapshot enable row level security;
create policy snapshot_leased on twin.snapshot for select to twin, twin_worker using (
  exists (select from vault.lease l where l.role = session_user and l.handle = snapshot.handle
          and l.until > clock_timestamp() and snapshot.tag = any (l.tags)));
create policy snapshot_write on twin.snapshot for insert to twin_worker with check (
  exists (select from vault.lease l where l.role = session_user and l.handle = snapshot.handle
          and l.until > clock_timestamp() and snapshot.tag = any (l.tags)));
create policy snapshot_prune on twin.snapshot for delete to twin_worker using (
  exists (select from vault.lease l where l.role = session_user and l.handle = snapshot.handle
          and l.until > clock_timestamp() and snapshot.tag = any (l.tags)));
