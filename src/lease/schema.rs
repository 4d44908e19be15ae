//! The layout of the lease file (DESIGN §7) and the text of every statement that names its columns. Additive changes
//! only; each raises [`VERSION`] and adds a step to [`MIGRATIONS`].
//!
//! Columns for people (names, host names) are clean text; what came from the network is kept as bytes beside it.
//! Addresses are numbers, times are seconds of the lease clock ([`super::clock`]).

/// `user_version` of a file that this program writes.
pub(super) const VERSION: i64 = 1;

/// `application_id`: "echo". Tells a lease file from any other SQLite file.
pub(super) const APPLICATION_ID: i64 = 0x6563_686f;

/// What leads from version `n` to `n + 1`.
pub(super) const MIGRATIONS: [&str; 1] = [CREATE];

/// What a lease is, in `lease_log` and `leases` alike, in the order of [`super::rows::decode`].
macro_rules! lease_columns {
    () => {
        "address, client, hw_type, mac, client_id, hostname, hostname_raw, subnet, pool, state, starts, expires, \
         declines, relay, circuit_id, remote_id, vendor_class"
    };
}
pub(super) use lease_columns;

/// Appends one row.
pub(super) const APPEND: &str = concat!(
    "INSERT INTO lease_log (seq, at, event, ",
    lease_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
);

/// Reads the log after a row.
pub(super) const LOG_AFTER: &str =
    concat!("SELECT seq, at, event, ", lease_columns!(), " FROM lease_log WHERE seq > ?1 ORDER BY seq");

/// Reads the log after a row, a number of rows at most.
pub(super) const LOG_PART: &str = concat!(
    "SELECT seq, at, event, ",
    lease_columns!(),
    " FROM lease_log WHERE seq > ?1 ORDER BY seq LIMIT ?2"
);

/// Writes a row of the log into the folded leases; ?21 is its `grant_seq`, the others are those of [`APPEND`].
pub(super) const FOLD_LEASE: &str = concat!(
    "INSERT OR REPLACE INTO leases (seq, grant_seq, ",
    lease_columns!(),
    ") VALUES (?1, ?21, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
);

/// Opens an interval of the history with a row of the log; ?21 is how it ended, the others are those of [`APPEND`].
pub(super) const FOLD_OPEN: &str = "INSERT OR IGNORE INTO lease_history (address, grant_seq, client, hw_type, mac, client_id, hostname, subnet, pool, \
     relay, circuit_id, remote_id, starts, ends, ended) \
     VALUES (?4, ?1, ?5, ?6, ?7, ?8, ?9, ?11, ?12, ?17, ?18, ?19, ?14, ?15, ?21)";

/// Reads the folded leases; the columns as in [`LOG_AFTER`].
pub(super) const ALL_LEASES: &str =
    concat!("SELECT seq, 0, NULL, ", lease_columns!(), " FROM leases ORDER BY address");

/// Reads the folded lease of an address; the columns as in [`LOG_AFTER`].
pub(super) const LEASE_OF: &str =
    concat!("SELECT seq, 0, NULL, ", lease_columns!(), " FROM leases WHERE address = ?1");

/// Reads the log after a row, of one address.
pub(super) const LOG_OF: &str = concat!(
    "SELECT seq, at, event, ",
    lease_columns!(),
    " FROM lease_log WHERE address = ?1 AND seq > ?2 ORDER BY seq"
);

const CREATE: &str = r"
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

INSERT INTO meta VALUES ('folded_to', 0), ('pruned_to', 0), ('newest', 0), ('clock_skew', 0), ('history_rows', 0);

-- Append-only; keys rise without gaps. Written before each ACK, by any number of processes.
CREATE TABLE lease_log (
    seq          INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    event        TEXT NOT NULL,
    address      INTEGER NOT NULL,
    client       BLOB,
    hw_type      INTEGER,
    mac          BLOB,
    client_id    BLOB,
    hostname     TEXT,
    hostname_raw BLOB,
    subnet       TEXT NOT NULL,
    pool         TEXT NOT NULL,
    state        INTEGER NOT NULL,
    starts       INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    declines     INTEGER NOT NULL,
    relay        INTEGER,
    circuit_id   BLOB,
    remote_id    BLOB,
    vendor_class BLOB
);

-- The log up to meta.folded_to, one row an address; seq is the row of the log that was applied last.
CREATE TABLE leases (
    address      INTEGER PRIMARY KEY,
    seq          INTEGER NOT NULL,
    grant_seq    INTEGER,
    client       BLOB,
    hw_type      INTEGER,
    mac          BLOB,
    client_id    BLOB,
    hostname     TEXT,
    hostname_raw BLOB,
    subnet       TEXT NOT NULL,
    pool         TEXT NOT NULL,
    state        INTEGER NOT NULL,
    starts       INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    declines     INTEGER NOT NULL,
    relay        INTEGER,
    circuit_id   BLOB,
    remote_id    BLOB,
    vendor_class BLOB
);

-- Who held which address from when to when, and how it ended; a renewed lease is one row. In the order of addresses, so
-- that folding neighbours writes to neighbouring pages.
CREATE TABLE lease_history (
    address    INTEGER NOT NULL,
    grant_seq  INTEGER NOT NULL,
    client     BLOB,
    hw_type    INTEGER,
    mac        BLOB,
    client_id  BLOB,
    hostname   TEXT,
    subnet     TEXT NOT NULL,
    pool       TEXT NOT NULL,
    relay      INTEGER,
    circuit_id BLOB,
    remote_id  BLOB,
    starts     INTEGER NOT NULL,
    ends       INTEGER NOT NULL,
    ended      TEXT NOT NULL,
    PRIMARY KEY (address, grant_seq)
) WITHOUT ROWID;

-- Every committed lease, folded or not, for people.
CREATE VIEW lease_list AS
WITH skew (secs) AS (SELECT value FROM meta WHERE key = 'clock_skew'),
tail (address, seq) AS MATERIALIZED (
    SELECT address, max(seq) FROM lease_log
    WHERE seq > (SELECT value FROM meta WHERE key = 'folded_to') GROUP BY address
),
newest AS (
    SELECT address, mac, client_id, hostname, subnet, pool, state, starts, expires FROM leases
    WHERE address NOT IN (SELECT address FROM tail)
    UNION ALL
    SELECT l.address, l.mac, l.client_id, l.hostname, l.subnet, l.pool, l.state, l.starts, l.expires
    FROM tail CROSS JOIN lease_log AS l ON l.seq = tail.seq WHERE l.event <> 'deleted'
)
SELECT
    (address >> 24) || '.' || (address >> 16 & 255) || '.' || (address >> 8 & 255) || '.' || (address & 255) AS ip,
    (WITH RECURSIVE byte (i) AS (SELECT 1 WHERE length(mac) > 0 UNION ALL SELECT i + 1 FROM byte WHERE i < length(mac))
     SELECT group_concat(lower(hex(substr(mac, i, 1))), ':') FROM byte) AS mac,
    (WITH RECURSIVE byte (i) AS
        (SELECT 1 WHERE length(client_id) > 0 UNION ALL SELECT i + 1 FROM byte WHERE i < length(client_id))
     SELECT group_concat(lower(hex(substr(client_id, i, 1))), ':') FROM byte) AS client_id,
    hostname,
    subnet,
    pool,
    CASE state
        WHEN 0 THEN CASE
            WHEN expires < CAST(strftime('%s', 'now') AS INTEGER) + (SELECT secs FROM skew) THEN 'expired'
            ELSE 'active' END
        WHEN 1 THEN 'expired' WHEN 2 THEN 'released' WHEN 3 THEN 'declined' ELSE 'conflict'
    END AS state,
    datetime(starts - (SELECT secs FROM skew), 'unixepoch', 'localtime') AS starts,
    CASE WHEN expires = 9223372036854775807 THEN 'never'
         ELSE datetime(expires - (SELECT secs FROM skew), 'unixepoch', 'localtime') END AS expires,
    address
FROM newest;
";
