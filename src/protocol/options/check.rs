//! Checks every option map of a configuration against the table. Called by the configuration check.

use crate::config::model::Options;
use crate::config::{Config, Finding};

use super::{Setting, ValueError, resolve};

/// What is wrong with the options of all levels: names that the table lacks, values that do not fit their type,
/// options that belong to the server, one option given twice.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    level("dhcp", &config.dhcp.common.options, &mut findings);
    for subnet in &config.dhcp.subnets {
        let key = format!("dhcp.subnets.{}", subnet.name);
        level(&key, &subnet.common.options, &mut findings);
        for pool in &subnet.pools {
            level(&format!("{key}.pools.{}", pool.name), &pool.options, &mut findings);
        }
        for host in &subnet.hosts {
            level(&format!("{key}.hosts.{}", host.name), &host.options, &mut findings);
        }
    }
    for class in &config.dhcp.classes {
        level(&format!("dhcp.classes.{}", class.name), &class.options, &mut findings);
    }
    findings
}

fn level(key: &str, options: &Options, findings: &mut Vec<Finding>) {
    let mut seen: Vec<(u8, &str)> = Vec::new();
    for (name, value) in options {
        let key = format!("{key}.options.{name}");
        if let Err(ValueError { reason, hint }) = Setting::from_config(name, value) {
            findings.push((key, reason, hint));
        } else if let Ok((code, _)) = resolve(name) {
            match seen.iter().find(|(known, _)| *known == code) {
                Some((_, other)) => {
                    findings.push((key, format!("is the same option as \"{other}\""), None));
                }
                None => seen.push((code, name)),
            }
        }
    }
}
