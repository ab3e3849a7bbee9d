-- Which worker keeps which twins: 64 shares of the handles, held for seconds and renewed
-- (services/twin/claims.py). A worker that dies stops renewing; the others take its shares.

create table twin.worker (
  id uuid primary key,
  address text not null,             -- host:port of its door, for questions
  until timestamptz not null
);
create table twin.claim (
  share smallint primary key check (share between 0 and 63),
  worker uuid,                       -- null: free
  until timestamptz not null
);
insert into twin.claim (share, worker, until) select n, null, '-infinity' from generate_series(0, 63) as n;

-- Handles are random (version 4), so their first byte spreads them evenly.
create function twin.share_of(handle uuid) returns smallint
language sql immutable strict parallel safe set search_path = pg_catalog as $$
  select (get_byte(uuid_send(handle), 0) / 4)::smallint
$$;
revoke all on function twin.share_of(uuid) from public;
grant execute on function twin.share_of(uuid) to twin_worker, twin;

grant select, insert, update, delete on twin.worker to twin_worker;
grant select, update on twin.claim to twin_worker;
grant select on twin.worker, twin.claim to twin;
