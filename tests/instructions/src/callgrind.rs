//! Runs this program under valgrind's callgrind and reads what it has counted.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::measured;
use crate::world::Failure;

/// Instructions per packet, by kind.
pub(crate) type Costs = BTreeMap<String, u64>;

/// Plays with so many leases in memory, and counts.
pub(crate) fn count(leases: u32) -> Result<Costs, Failure> {
    let program = std::env::current_exe()?;
    let out = program.with_file_name(format!("callgrind.{}.{leases}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"]);
    valgrind.arg("--toggle-collect=*measured*").arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(program).args(["play", "--leases"]).arg(leases.to_string());
    let ran = valgrind.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let ran = ran.map_err(|error| format!("could not run valgrind: {error}"))?;
    if !ran.status.success() {
        return Err(format!("valgrind or the program under it failed: {}", ran.status).into());
    }
    let packets: BTreeMap<String, u64> = serde_json::from_slice(&ran.stdout)?;
    let profile = fs::read_to_string(&out)?;
    if std::env::var_os("KEEP_PROFILE").is_some() {
        println!("profile: {}", out.display());
    } else {
        fs::remove_file(&out)?;
    }
    let spent = inclusive(&profile);
    let mut costs = Costs::new();
    for name in measured::NAMES {
        let all = spent.get(*name).ok_or_else(|| format!("{name} was not measured"))?;
        let packets = packets.get(*name).filter(|packets| **packets > 0);
        costs.insert((*name).to_owned(), all / packets.ok_or_else(|| format!("{name} was not played"))?);
    }
    Ok(costs)
}

/// Instructions within each measured function, those that it calls included. A line of costs below `fn=` is either its
/// own (`line count`) or, behind `calls=`, that of the call as a whole, so their sum is what is asked for.
fn inclusive(profile: &str) -> BTreeMap<String, u64> {
    let mut spent = BTreeMap::new();
    let mut current = None;
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            current = function.split_once("::measured::").map(|(_, name)| name.to_owned());
        } else if let (Some(name), Some((place, count))) = (&current, line.split_once(' '))
            && place.bytes().all(|byte| byte.is_ascii_digit())
        {
            *spent.entry(name.clone()).or_default() += count.trim().parse::<u64>().unwrap_or(0);
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_instructions_and_those_of_calls_are_added_up() {
        let profile = "events: Ir\n\nfl=a.rs\nfn=echo_instructions::measured::discover\n10 5\nfi=b.rs\n11 7\n\
                       cfn=inner\ncalls=2 20\n12 100\n\nfn=inner\n20 100\n\nfn=x::measured::renew\n1 3\n";
        assert_eq!(inclusive(profile), [("discover".to_owned(), 112), ("renew".to_owned(), 3)].into());
    }
}
