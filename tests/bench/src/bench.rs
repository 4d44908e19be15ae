//! `echo-bench`: our daemon, its peers and the ceilings of DESIGN §11 in turn under the same load.

use crate::book::{self, Book};
use crate::netns::{self, Cable};
use crate::servers::{self, Programs};
use crate::{dhcp, document, durability, echo, growth, load, place, plot, table};
use anyhow::{Context, bail, ensure};
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Rounds over all servers, unless told otherwise.
const ROUNDS: u32 = 3;
/// Parts besides the DHCP servers.
const PARTS: [&str; 8] = ["disk", "tcp", "bulk", "udp", "growth", "hour", "offers", "durability"];
/// Groups of names, for `--only`.
const GROUPS: [(&str, &[&str]); 2] = [("dhcp", &[]), ("echo", &["tcp", "bulk", "udp"])];
/// Renders what earlier runs found, and measures nothing.
const TABLES: &str = "tables";

/// Measures echo-daemon beside its peers and ceilings, as DESIGN §11 says, and makes tables and plots
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", version)]
struct Args {
    /// One short round, fewer leases: under 3 minutes
    #[arg(long)]
    quick: bool,
    /// Only these: dhcp (ours-1 ours-2 ours-4 kea dnsmasq dhcpd answer), echo (tcp bulk udp), disk, growth, hour, offers,
    /// durability; or `tables`, which renders what is there. The others' figures stay as an earlier run left them
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Where results go, on a real disk [default: target/bench]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Rounds over all servers [default: 3; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Adds the rounds to those of an earlier run instead of beginning anew
    #[arg(long)]
    add: bool,
    /// Writes the tables and plots into docs/performance.md and docs/performance/ as well
    #[arg(long)]
    document: bool,
    /// The repository
    #[arg(long, value_name = "FOLDER", default_value = ".", hide = true)]
    repo: PathBuf,
}

/// What every part of the bench needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) cable: Cable,
    pub(crate) out: PathBuf,
    pub(crate) quick: bool,
    wanted: BTreeSet<String>,
    began: Instant,
}

impl Bench {
    /// Whether this server or part is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.contains(name)
    }

    /// How long one load takes, for the command line of the generator.
    pub(crate) fn seconds(&self) -> String {
        if self.quick { "0.7" } else { "2" }.to_owned()
    }

    /// A folder beside the results.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// The same, and empty.
    pub(crate) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("could not empty \"{}\"", folder.display()))?;
        }
        servers::make_folder(&folder)?;
        Ok(folder)
    }

    /// What is done now, for whoever waits.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{:>5.0} s  {what}", self.began.elapsed().as_secs_f64());
    }
}

/// The program `echo-bench`.
pub fn bench() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = wanted(&args.only)?;
    let repo = fs::canonicalize(&args.repo).context("there is no such repository")?;
    let out = args.out.clone().unwrap_or_else(|| repo.join("target/bench"));
    servers::make_folder(&out)?;
    let out = fs::canonicalize(&out)?;
    let mut book = if args.add || !args.only.is_empty() { Book::open(&out)? } else { Book::default() };
    if !wanted.is_empty() {
        place::require_disk(&out)?;
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and port 67 take root\nhint: run scripts/bench as root"
        );
        if !args.add {
            forget(&mut book, &wanted);
        }
        clean_up_on_signals()?;
        let programs = programs(&repo)?;
        let bench = Bench {
            programs,
            cable: Cable::new()?,
            out: out.clone(),
            quick: args.quick,
            wanted,
            began: Instant::now(),
        };
        book.machine = place::Machine::look(&out);
        book.date = chrono::Local::now().format("%-d %B %Y").to_string();
        let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { ROUNDS });
        let measured = measure(&bench, &mut book, rounds);
        let _ = fs::remove_dir_all(bench.folder("server"));
        // What was found before a failure is kept.
        book.save(&out)?;
        measured?;
    }
    report(args, &repo, &out, &book)
}

/// The rounds, and then what needs none.
fn measure(bench: &Bench, book: &mut Book, rounds: u32) -> anyhow::Result<()> {
    if bench.wants("disk") {
        bench.say("bare fsync");
        let folder = bench.fresh("server")?;
        let words = ["fsync", "--folder", &folder.to_string_lossy(), "--seconds", &bench.seconds()];
        let rate = load::local(&bench.cable, &bench.programs.load, &words)?;
        place::require_slow_sync(rate.per_second)?;
        book.add("disk", "fsync_per_second", rate.per_second);
    }
    for round in 1..=rounds {
        bench.say(&format!("round {round} of {rounds}"));
        dhcp::round(bench, book)?;
        echo::round(bench, book)?;
        if bench.wants("growth") {
            growth::round(bench, book).context("growth")?;
        }
        // A run of many minutes that is interrupted has not been in vain.
        book.save(&bench.out)?;
    }
    if bench.wants("hour") {
        growth::hour(bench, book).context("an hour of renewals")?;
    }
    if bench.wants("offers") {
        growth::offers(bench, book).context("offers")?;
    }
    if bench.wants("durability") {
        durability::run(bench, book).context("durability")?;
    }
    bench.say("done");
    Ok(())
}

/// Prints and writes the tables, draws the plots; an address that two clients got, or an ACK before its sync, is a failure.
fn report(args: &Args, repo: &Path, out: &Path, book: &Book) -> anyhow::Result<()> {
    let text = table::document(book);
    println!("{text}");
    fs::write(out.join("results.md"), &text)?;
    plot::all(book, out)?;
    if args.document {
        document::fill_file(&repo.join("docs/performance.md"), &table::all(book))?;
        plot::all(book, &repo.join("docs/performance"))?;
    }
    eprintln!("results are in {}: results.md, {}, throughput.svg, growth.svg", out.display(), book::FILE);
    for subject in book
        .subjects()
        .into_iter()
        .filter(|subject| subject.starts_with("ours") || subject.starts_with("growth"))
    {
        let twice: f64 = book.samples(subject, "duplicates").iter().sum();
        if twice > 0.0 {
            bail!("{subject}: {twice} addresses were leased to two clients");
        }
    }
    let early: f64 = book.samples(durability::SUBJECT, "acks_before_sync").iter().sum();
    ensure!(early == 0.0, "{early} ACKs were sent before their lease was synced");
    Ok(())
}

/// The names of `--only`, groups taken apart; all of them where none is given.
fn wanted(only: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let servers: Vec<String> = servers::ALL.iter().map(ToString::to_string).collect();
    let known: Vec<String> = servers.iter().cloned().chain(PARTS.map(str::to_owned)).collect();
    if only.is_empty() {
        return Ok(known.into_iter().collect());
    }
    let mut wanted = BTreeSet::new();
    for name in only.iter().flat_map(|names| names.split(',')) {
        if let Some((group, members)) = GROUPS.iter().find(|(group, _)| *group == name) {
            wanted.extend(members.iter().map(|member| (*member).to_owned()));
            wanted.extend(servers.iter().filter(|_| *group == "dhcp").cloned());
        } else if known.iter().any(|known| known == name) {
            wanted.insert(name.to_owned());
        } else if name != TABLES {
            bail!(
                "there is nothing called \"{name}\"\nhint: one of dhcp, echo, tables, {}",
                known.join(", ")
            );
        }
    }
    Ok(wanted)
}

/// A part's subjects begin with its name: `tcp` has `tcp-ours`, `growth` has `growth-1`.
fn forget(book: &mut Book, wanted: &BTreeSet<String>) {
    let of = |subject: &str| {
        wanted.iter().any(|name| {
            subject == name || (PARTS.contains(&name.as_str()) && subject.starts_with(&format!("{name}-")))
        })
    };
    let old: Vec<String> =
        book.subjects().into_iter().filter(|subject| of(subject)).map(str::to_owned).collect();
    for subject in old {
        book.forget(&subject);
    }
}

/// What scripts/bench has built and unpacked.
pub(crate) fn programs(repo: &Path) -> anyhow::Result<Programs> {
    let built =
        std::env::current_exe()?.parent().map(Path::to_path_buf).context("this program lies nowhere")?;
    let programs = Programs {
        daemon: built.join("echo-daemon"),
        load: built.join("echo-load"),
        accept_fork: repo.join("target/bench/accept_fork_echo"),
        peers: repo.join("target/bench/peers/root"),
    };
    for program in [&programs.daemon, &programs.load, &programs.accept_fork] {
        ensure!(program.is_file(), "there is no \"{}\"\nhint: scripts/bench builds it", program.display());
    }
    Ok(programs)
}

/// Ctrl-C and the like: whoever was started and both namespaces go before this process does.
pub(crate) fn clean_up_on_signals() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            netns::remove_all();
            // As a shell tells of a death by signal.
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_for_their_members_and_unknown_names_are_refused() {
        let names = |only: &[&str]| wanted(&only.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&[]).unwrap().len(), servers::ALL.len() + PARTS.len());
        assert!(names(&["echo"]).unwrap().into_iter().eq(["bulk", "tcp", "udp"]));
        assert_eq!(names(&["dhcp"]).unwrap().len(), servers::ALL.len());
        assert!(names(&["kea,ours-2"]).unwrap().into_iter().eq(["kea", "ours-2"]));
        assert!(names(&["tables"]).unwrap().is_empty());
        assert!(names(&["kae"]).unwrap_err().to_string().contains("hint: one of dhcp"));
    }

    #[test]
    fn measuring_a_part_anew_forgets_its_old_figures_alone() {
        let mut book = Book::default();
        for subject in ["tcp-ours", "tcp-socat", "ours-2", "growth-1"] {
            book.add(subject, "x", 1.0);
        }
        forget(&mut book, &BTreeSet::from(["tcp".to_owned(), "ours-1".to_owned()]));
        assert!(book.subjects().into_iter().eq(["growth-1", "ours-2"]));
    }

    #[test]
    fn command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
