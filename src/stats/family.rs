//! All metric families: those of the table in shared memory, the histograms, and those that the collector works out once
//! a second, which stand here. Exposition, `/v1/stats` and docs/metrics.md read this list and no other.

use super::histogram::Histogram;
use super::metrics::{Counter, Gauge};

/// A metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: Labels,
    /// Where it stands in `/v1/stats` (`stats::document`).
    pub place: &'static str,
}

/// What the value of a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

impl Kind {
    /// Its name, as Prometheus says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Names of labels: of a table of cells, or said outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Those of this cell, without its values.
    Of(&'static [(&'static str, &'static str)]),
    /// These.
    Names(&'static [&'static str]),
}

impl Labels {
    /// The names, in order.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Of(labels) => labels.iter().map(|(name, _)| *name).collect(),
            Self::Names(names) => names.to_vec(),
        }
    }
}

/// Declares the families that the collector works out.
macro_rules! computed {
    ($($name:ident $kind:ident $family:literal [$($label:literal),*] $help:literal at $place:literal;)+) => {
        /// A figure that the collector works out: of pools, processes, files, or of times.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the table names each by metric and labels")]
        pub enum Computed { $($name,)+ }

        impl Computed {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its family.
            pub const fn family(self) -> Family {
                match self {
                    $(Self::$name => Family {
                        name: $family,
                        help: $help,
                        kind: Kind::$kind,
                        labels: Labels::Names(&[$($label),*]),
                        place: $place,
                    },)+
                }
            }
        }
    };
}

computed! {
    Leases Gauge "echo_daemon_dhcp_leases" ["subnet", "pool", "state"]
        "Leases by subnet, pool and state" at "pools[subnet,pool].leases.{state}";
    PoolAddresses Gauge "echo_daemon_dhcp_pool_addresses" ["subnet", "pool"]
        "Addresses that a pool could give out" at "pools[subnet,pool].addresses";
    PoolFree Gauge "echo_daemon_dhcp_pool_free_addresses" ["subnet", "pool"]
        "Addresses of a pool that no client holds or is remembered for" at "pools[subnet,pool].free";
    PoolAvailable Gauge "echo_daemon_dhcp_pool_available_addresses" ["subnet", "pool"]
        "Addresses of a pool that a new client could get now: free ones and those of leases that ended" at "pools[subnet,pool].available";
    PoolExhaustion Gauge "echo_daemon_dhcp_pool_exhaustion_seconds" ["subnet", "pool"]
        "Time until a pool has no available address if it goes on as in the last minutes; absent where it does not shrink" at "pools[subnet,pool].exhaustion_secs";
    LastCommit Gauge "echo_daemon_dhcp_last_commit_timestamp_seconds" []
        "When leases were last committed; absent before the first time" at "dhcp.store.last_commit";
    Generation Gauge "echo_daemon_config_generation" []
        "Number of the generation of workers in force" at "generation";
    ReloadSuccessful Gauge "echo_daemon_config_last_reload_successful" []
        "Whether the last reload was applied (1) or refused (0); absent before the first one" at "config.last_reload.successful";
    ReloadTime Gauge "echo_daemon_config_last_reload_timestamp_seconds" []
        "When the last reload was applied or refused; absent before the first one" at "config.last_reload.time";
    StartTime Gauge "echo_daemon_start_time_seconds" []
        "When every worker of the daemon served for the first time" at "start_time";
    SnapshotTime Gauge "echo_daemon_snapshot_timestamp_seconds" []
        "When these figures were taken; once a second" at "timestamp";
    BuildInfo Gauge "echo_daemon_build_info" ["version"]
        "Version of the program; always 1" at "build.{version}";
    ProcessMemory Gauge "echo_daemon_process_resident_memory_bytes" ["process"]
        "Resident memory of the processes of this name" at "processes[process].resident_memory_bytes";
    ProcessCpu Counter "echo_daemon_process_cpu_seconds_total" ["process"]
        "CPU time of all processes that ever had this name; that of TCP clients is added to tcp when they end" at "processes[process].cpu_secs";
    ProcessStart Gauge "echo_daemon_process_start_time_seconds" ["process"]
        "When the newest process of this name was forked" at "processes[process].start_time";
    ProcessCount Gauge "echo_daemon_processes" ["process"]
        "Processes of this name; more than one while an older generation is leaving" at "processes[process].count";
    ProcessDescriptors Gauge "echo_daemon_process_open_fds" ["process"]
        "Open file descriptors of the processes of this name, where they may be counted" at "processes[process].open_fds";
    FileSize Gauge "echo_daemon_file_size_bytes" ["file"]
        "Size of a file of the daemon; absent where there is none" at "files[file].size_bytes";
    FilesystemFree Gauge "echo_daemon_filesystem_free_bytes" ["file"]
        "Bytes that an ordinary user may still write to the file system of a file" at "files[file].filesystem_free_bytes";
    FilesystemSize Gauge "echo_daemon_filesystem_size_bytes" ["file"]
        "Size of the file system of a file" at "files[file].filesystem_size_bytes";
}

impl Counter {
    /// Its family.
    pub const fn metric(self) -> Family {
        Family {
            name: self.family(),
            help: self.help(),
            kind: Kind::Counter,
            labels: Labels::Of(self.labels()),
            place: self.place(),
        }
    }
}

impl Gauge {
    /// Its family.
    pub const fn metric(self) -> Family {
        Family {
            name: self.family(),
            help: self.help(),
            kind: Kind::Gauge,
            labels: Labels::Of(self.labels()),
            place: self.place(),
        }
    }
}

impl Histogram {
    /// Its family.
    pub const fn metric(self) -> Family {
        Family {
            name: self.family(),
            help: self.help(),
            kind: Kind::Histogram,
            labels: Labels::Of(self.labels()),
            place: self.place(),
        }
    }
}

/// Every family once, by name.
pub fn families() -> Vec<Family> {
    let cells = Counter::ALL.iter().map(|cell| cell.metric());
    let cells = cells.chain(Gauge::ALL.iter().map(|cell| cell.metric()));
    let cells = cells.chain(Histogram::ALL.iter().map(|histogram| histogram.metric()));
    let mut all: Vec<Family> = cells.chain(Computed::ALL.iter().map(|one| one.family())).collect();
    all.sort_by_key(|family| family.name);
    all.dedup_by_key(|family| family.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_unit_and_kind() {
        for family in families() {
            let counts = family.name.ends_with("_total");
            assert_eq!(counts, family.kind == Kind::Counter, "{}", family.name);
            assert!(family.name.starts_with("echo_daemon_"), "{}", family.name);
            assert!(!family.help.ends_with('.') && !family.help.is_empty(), "{}", family.name);
        }
    }

    #[test]
    fn cells_of_a_family_have_the_same_labels_and_place() {
        for cell in Counter::ALL {
            let first = families().into_iter().find(|family| family.name == cell.family()).unwrap();
            assert_eq!(Labels::Of(cell.labels()).names(), first.labels.names(), "{cell:?}");
        }
    }

    #[test]
    fn every_label_shows_in_the_place() {
        for family in families() {
            for label in family.labels.names() {
                let (list, member) =
                    (["[", ","].map(|before| format!("{before}{label}")), format!("{{{label}}}"));
                let shown = list.iter().any(|list| family.place.contains(list.as_str()))
                    || family.place.contains(&member);
                assert!(shown, "{} loses {label}", family.name);
            }
        }
    }
}
