//! The table of what each process may do once it is born, and the only place that says so: the user, the files, the
//! system calls, the limits. docs/security.md shows the same table, made from this one.
//!
//! `birth` and `preflight` confine by it; how that is done is `daemon_utils::sandbox`'s business.

pub mod calls;

use std::path::Path;

use daemon_utils::sandbox::{Confinement, FileAccess, FileRule, Filter, Limit, Resource, SandboxError};

use crate::config::Config;
use crate::workers::{Kind, logger};

use calls::Group;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// A process that is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// A worker; the tcp worker's clients inherit from it.
    Worker(Kind),
    /// The child of a start that makes the lease file ready.
    LeaseCheck,
}

/// One row: what a process may do.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Whose row it is.
    pub process: Process,
    /// How the page calls it.
    pub name: &'static str,
    /// Whether it stays uid 0 where root starts the daemon, without any capability.
    pub stays_root: bool,
    /// What it can open.
    pub files: &'static [Place],
    /// What it can call.
    pub calls: &'static [&'static Group],
    /// What it can use.
    pub bounds: &'static [Bound],
}

/// Files that a process needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The folder of the lease file.
    Leases,
    /// The same where it has yet to be made.
    LeasesToBe,
    /// The folders of the log files.
    Logs,
    /// SQLite's random numbers.
    Random,
    /// The time zone.
    Zone,
    /// Which boot this is.
    Boot,
    /// What the processes use.
    Processes,
    /// What the C library reads to find a host by its name.
    Names,
}

/// A limit, as far as it does not depend on the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many descriptors on top of those that it was born with.
    Descriptors(u64),
    /// So much memory of its own, in bytes.
    Memory(u64),
    /// The same, and [`PER_ADDRESS`] more for each address that can be leased.
    MemoryForLeases(u64),
    /// No file can be written to.
    NoFiles,
    /// No process and no thread can be made.
    NoForks,
    /// No memory can be locked and no message queue made.
    NoLocks,
}

/// Room for each address of a pool, in bytes: three times what a lease takes.
pub const PER_ADDRESS: u64 = 1024;

/// All rows. Memory limits are there to end what runs away, far above what a site needs: main's configuration, which each
/// process has a copy of, is part of it.
pub const TABLE: [Row; 7] = [
    Row {
        process: Process::Worker(Kind::Logger),
        name: "logger",
        stays_root: true,
        files: &[Place::Logs, Place::Zone, Place::Names],
        calls: &[&calls::COMMON, &calls::LOG_FILES, &calls::THREADS, &calls::SYSLOG, &calls::NAMES],
        bounds: &[Bound::Descriptors(64), Bound::Memory(2 * GIB), Bound::NoLocks],
    },
    Row {
        process: Process::Worker(Kind::Tcp),
        name: "tcp and each client",
        stays_root: false,
        files: &[],
        calls: &[&calls::COMMON, &calls::CLIENTS],
        // Processes are counted by user, and others may run as the same one: no limit of theirs.
        bounds: &[Bound::Descriptors(256), Bound::Memory(2 * GIB), Bound::NoFiles, Bound::NoLocks],
    },
    Row {
        process: Process::Worker(Kind::Udp),
        name: "udp",
        stays_root: false,
        files: &[],
        calls: &[&calls::COMMON, &calls::PACKETS],
        bounds: &[
            Bound::Descriptors(16),
            Bound::Memory(2 * GIB),
            Bound::NoFiles,
            Bound::NoForks,
            Bound::NoLocks,
        ],
    },
    Row {
        process: Process::Worker(Kind::Dhcp),
        name: "dhcp 0 … N-1",
        stays_root: false,
        files: &[Place::Leases, Place::Random],
        calls: &[&calls::COMMON, &calls::PACKETS, &calls::LEASE_FILE, &calls::THREADS],
        bounds: &[Bound::Descriptors(64), Bound::MemoryForLeases(4 * GIB), Bound::NoLocks],
    },
    Row {
        process: Process::Worker(Kind::Keeper),
        name: "keeper",
        stays_root: false,
        files: &[Place::Leases, Place::Random],
        calls: &[&calls::COMMON, &calls::LEASE_FILE],
        bounds: &[Bound::Descriptors(64), Bound::MemoryForLeases(4 * GIB), Bound::NoForks, Bound::NoLocks],
    },
    Row {
        process: Process::Worker(Kind::Api),
        name: "api",
        stays_root: false,
        files: &[Place::Leases, Place::Random, Place::Zone, Place::Processes],
        calls: &[&calls::COMMON, &calls::LEASE_FILE, &calls::THREADS, &calls::CONNECTIONS, &calls::FIGURES],
        bounds: &[Bound::Descriptors(512), Bound::MemoryForLeases(4 * GIB), Bound::NoLocks],
    },
    Row {
        process: Process::LeaseCheck,
        name: "check of the lease file",
        stays_root: false,
        files: &[Place::LeasesToBe, Place::Random, Place::Boot],
        calls: &[&calls::COMMON, &calls::LEASE_FILE, &calls::NEW_LEASE_FILE],
        bounds: &[Bound::Descriptors(64), Bound::MemoryForLeases(4 * GIB), Bound::NoForks, Bound::NoLocks],
    },
];

/// What a process with so many descriptors is to be confined to. An error is a mistake in the lists of calls.
pub(super) fn of(process: Process, config: &Config, descriptors: usize) -> Result<Confinement, SandboxError> {
    // A process without a row may do nothing at all: it would not get far, and the tests would show it.
    let Some(row) = TABLE.iter().find(|row| row.process == process) else {
        return Ok(Confinement::default());
    };
    let groups = row.calls.iter().filter(|group| (group.applies)(config));
    Ok(Confinement {
        files: row.files.iter().flat_map(|place| place.rules(config)).collect(),
        filter: Filter::compile(groups.flat_map(|group| group.all()), calls::DEADLY.all())?,
        limits: row.bounds.iter().flat_map(|bound| bound.limits(config, descriptors)).collect(),
    })
}

impl Place {
    fn rules(self, config: &Config) -> Vec<FileRule> {
        let leases = folder(&config.dhcp.store.path);
        let read = |paths: &[&str]| -> Vec<FileRule> {
            let rule = |path: &&str| FileRule { path: path.into(), access: FileAccess::Read };
            paths.iter().map(rule).collect()
        };
        match self {
            Self::Leases if !config.dhcp.enabled => Vec::new(),
            Self::Leases => vec![FileRule { path: leases.to_owned(), access: FileAccess::Write }],
            Self::LeasesToBe => {
                let there = leases.ancestors().find(|folder| folder.is_dir()).unwrap_or(leases);
                let access =
                    if there == leases { FileAccess::Write } else { FileAccess::WriteAndMakeFolders };
                vec![FileRule { path: there.to_owned(), access }]
            }
            Self::Logs => {
                let rule = |path: &Path| FileRule { path: path.to_owned(), access: FileAccess::Write };
                logger::folders(config).map(rule).collect()
            }
            Self::Random => read(&["/dev/urandom"]),
            Self::Zone => read(&ZONES),
            Self::Boot => read(&["/proc/sys/kernel/random/boot_id"]),
            Self::Processes => read(&["/proc"]),
            Self::Names if names_a_host(config) => read(&NAMES),
            Self::Names => Vec::new(),
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Leases => "the lease file's folder",
            Self::LeasesToBe => "the lease file's folder, or where it is missing the one above it",
            Self::Logs => "the folders of the log files",
            Self::Random => "read `/dev/urandom`",
            Self::Zone => "read the time zones",
            Self::Boot => "read `/proc/sys/kernel/random/boot_id`",
            Self::Processes => "read `/proc`",
            Self::Names => "where `logging.syslog.address` names a host, read what names are found by",
        }
    }
}

impl Bound {
    fn limits(self, config: &Config, descriptors: usize) -> Vec<Limit> {
        let limit = |resource, most| vec![Limit { resource, most }];
        match self {
            Self::Descriptors(more) => limit(Resource::RLIMIT_NOFILE, descriptors as u64 + more),
            Self::Memory(most) => limit(Resource::RLIMIT_DATA, most),
            Self::MemoryForLeases(most) => {
                let pools = config.dhcp.subnets.iter().flat_map(|subnet| &subnet.pools);
                let hosts = config.dhcp.subnets.iter().map(|subnet| subnet.hosts.len() as u64);
                let addresses: u64 = pools.map(|pool| pool.range.size()).chain(hosts).sum();
                limit(Resource::RLIMIT_DATA, most.saturating_add(addresses.saturating_mul(PER_ADDRESS)))
            }
            Self::NoFiles => limit(Resource::RLIMIT_FSIZE, 0),
            Self::NoForks => limit(Resource::RLIMIT_NPROC, 0),
            Self::NoLocks => {
                [limit(Resource::RLIMIT_MEMLOCK, 0), limit(Resource::RLIMIT_MSGQUEUE, 0)].concat()
            }
        }
    }

    /// For people.
    pub fn words(self) -> String {
        match self {
            Self::Descriptors(more) => format!("{more} descriptors more than it is born with"),
            Self::Memory(most) => format!("{} GiB of memory", most / GIB),
            Self::MemoryForLeases(most) => {
                format!("{} GiB of memory and {PER_ADDRESS} bytes for each address", most / GIB)
            }
            Self::NoFiles => "no file grows".to_owned(),
            Self::NoForks => "no process".to_owned(),
            Self::NoLocks => "no locked memory, no message queues".to_owned(),
        }
    }
}

/// Where chrono and the C library look for time zones.
const ZONES: [&str; 5] = [
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/etc/zoneinfo",
];

/// What getaddrinfo(3) reads: its configuration, where that is made by others, and its modules.
const NAMES: [&str; 14] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/lib",
    "/lib64",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/usr/lib",
    "/usr/lib64",
    "/etc/services",
];

/// Whether syslog goes to a host that has to be found by its name.
fn names_a_host(config: &Config) -> bool {
    let syslog = &config.logging.syslog;
    let Some(host) = syslog.address.strip_prefix("udp://").filter(|_| syslog.enabled) else { return false };
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    // With a port or without one.
    bare(host).is_err() && host.rsplit_once(':').is_none_or(|(host, _)| bare(host).is_err())
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigManager, Sources};

    fn config(set: &[&str]) -> Config {
        let set = set.iter().map(|one| (*one).to_owned()).collect();
        let sources = Sources { set, folder: "/".into(), ..Sources::default() };
        ConfigManager::new(sources).load().unwrap().config
    }

    #[test]
    fn every_kind_of_worker_has_a_row_of_its_own() {
        for kind in Kind::ALL {
            let rows = TABLE.iter().filter(|row| row.process == Process::Worker(kind));
            assert_eq!(rows.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn every_list_of_calls_compiles_and_none_has_a_deadly_call() {
        let config = config(&[
            "dhcp.enabled=false",
            "logging.syslog={enabled: true, address: 'udp://log.example:514'}",
        ]);
        for row in TABLE {
            let confinement = of(row.process, &config, 10).unwrap();
            assert_eq!(
                confinement.filter.is_some(),
                cfg!(any(target_arch = "x86_64", target_arch = "aarch64")),
                "{}",
                row.name
            );
            for call in row.calls.iter().flat_map(|group| group.all()) {
                let deadly = calls::DEADLY.all().any(|deadly| deadly.number == call.number);
                assert!(!deadly, "{} of {}", call.name(), row.name);
            }
        }
    }

    #[test]
    fn what_the_configuration_does_not_use_is_not_allowed() {
        let plain = config(&["dhcp.enabled=false"]);
        let of = |config: &Config| {
            let row = of(Process::Worker(Kind::Logger), config, 0).unwrap();
            (row.files.len(), row.filter)
        };
        let syslog = config(&["dhcp.enabled=false", "logging.syslog.enabled=true"]);
        let host = config(&[
            "dhcp.enabled=false",
            "logging.syslog={enabled: true, address: 'udp://log.example:514'}",
        ]);
        assert!(of(&plain).1 != of(&syslog).1 && of(&syslog).1 != of(&host).1);
        assert_eq!(of(&plain).0, of(&syslog).0);
        assert_eq!(of(&host).0, of(&plain).0 + NAMES.len());
        let api = super::of(Process::Worker(Kind::Api), &plain, 0).unwrap();
        assert!(api.files.iter().all(|rule| rule.access == FileAccess::Read), "{:?}", api.files);
    }

    #[test]
    fn host_names_are_told_from_addresses() {
        for (address, name) in [
            ("/dev/log", false),
            ("udp://10.0.0.1:514", false),
            ("udp://[::1]:514", false),
            ("udp://log.example:514", true),
        ] {
            let set = format!("logging.syslog={{enabled: true, address: '{address}'}}");
            assert_eq!(names_a_host(&config(&["dhcp.enabled=false", &set])), name, "{address}");
        }
    }

    #[test]
    fn memory_grows_with_the_pools() {
        let site = |range: &str| {
            let set =
                format!("dhcp.subnets={{lan: {{network: 10.0.0.0/8, pools: {{a: {{range: {range}}}}}}}}}");
            let limits =
                of(Process::Worker(Kind::Dhcp), &config(&["dhcp.interfaces=lo", &set]), 0).unwrap().limits;
            limits.iter().find(|limit| limit.resource == Resource::RLIMIT_DATA).unwrap().most
        };
        assert_eq!(site("10.0.0.1-10.0.0.1"), 4 * GIB + PER_ADDRESS);
        assert!(site("10.0.0.1-10.16.255.255") > 5 * GIB);
    }
}
