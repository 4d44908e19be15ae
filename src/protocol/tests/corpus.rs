//! Packets of the wild, real and hostile, where the corpus lies beside the repository; else nothing is tested here.

use std::path::{Path, PathBuf};

use super::parser::read_all;
use crate::protocol::{DhcpParser, Malformed};

/// All files of the corpus; empty where it is absent.
pub(crate) fn files() -> Vec<(PathBuf, Vec<u8>)> {
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, found);
            } else if let Ok(bytes) = std::fs::read(&path) {
                found.push((path, bytes));
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), &mut found);
    found
}

#[test]
fn no_packet_of_the_corpus_panics_cut_anywhere() {
    for (path, bytes) in files() {
        read_all(&bytes);
        for end in 0..bytes.len().min(800) {
            read_all(&bytes[..end]);
        }
        // Behind the header of a sound packet, any file makes an options field.
        read_all(&super::wire::request(&bytes));
        let _ = path;
    }
}

#[test]
fn real_requests_of_the_corpus_are_read() {
    for (path, bytes) in files() {
        let name = path.display().to_string();
        let real = [
            "payloads/zeek_dhcp_0",
            "payloads/suricata",
            "dhcproto/discover",
            "payloads/tcpdump_dhcp-option-108",
        ];
        if !name.ends_with("_req.bin") && !name.ends_with("discover.bin")
            || !real.iter().any(|part| name.contains(part))
        {
            continue;
        }
        assert!(DhcpParser::parse(&bytes).is_ok(), "{name}: {:?}", DhcpParser::parse(&bytes).err());
    }
}

#[test]
fn known_faults_of_the_corpus_are_named() {
    for (path, bytes) in files() {
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("opt12-truncated.bin" | "opt12-no-length.bin") => Malformed::OptionTruncated(12),
            Some("empty.bin" | "one-byte.bin") => Malformed::TooShort,
            _ => continue,
        };
        assert_eq!(DhcpParser::parse(&bytes).unwrap_err(), expected, "{}", path.display());
    }
}
