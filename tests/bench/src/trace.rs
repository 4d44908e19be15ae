//! Reads what strace saw of the DHCP workers: whether each ACK left after a sync that ended after its REQUEST had come.
//!
//! A call that another process's call interrupts stands on two lines, `… <unfinished ...>` and `<... NAME resumed>…`:
//! a send counts where it begins, a sync where it ends, a receive where its messages are shown.

use std::collections::BTreeMap;

/// Type 53, one byte, behind the magic cookie (RFC 2131 §3): where our messages have it.
const COOKIE: &str = "63825363";
const REQUEST: &str = "350103";
const ACK: &str = "350105";
/// In hexadecimal digits: the transaction's number and the options (RFC 2131 §2).
const XID: std::ops::Range<usize> = 8..16;
const OPTIONS: usize = 480;

/// What a trace shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// ACKs whose REQUEST is in the trace.
    pub(crate) acks: u64,
    /// Syncs that ended well.
    pub(crate) syncs: u64,
    /// ACKs without a sync between their REQUEST and them. Must be 0.
    pub(crate) early: u64,
}

impl Verdict {
    /// Reads the lines of `strace -f -xx`.
    pub(crate) fn of(trace: &str) -> Self {
        let mut verdict = Self::default();
        // Of each transaction the number of syncs that each process had finished when its REQUEST came.
        let mut asked: BTreeMap<String, (String, u64)> = BTreeMap::new();
        let mut syncs: BTreeMap<String, u64> = BTreeMap::new();
        for line in trace.lines() {
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            let is = |name: &str| {
                call.starts_with(&format!("{name}(")) || call.starts_with(&format!("<... {name} resumed>"))
            };
            if (is("fsync") || is("fdatasync")) && call.trim_end().ends_with("= 0") {
                verdict.syncs += 1;
                *syncs.entry(pid.to_owned()).or_default() += 1;
            } else if is("recvmmsg") {
                let done = syncs.get(pid).copied().unwrap_or_default();
                for xid in messages(call, REQUEST) {
                    asked.insert(xid, (pid.to_owned(), done));
                }
            } else if is("sendmmsg") {
                for xid in messages(call, ACK) {
                    let Some((worker, before)) = asked.remove(&xid) else { continue };
                    verdict.acks += 1;
                    // A lease is synced by the process that took its REQUEST.
                    let synced = worker == pid && syncs.get(pid).copied().unwrap_or_default() > before;
                    verdict.early += u64::from(!synced);
                }
            }
        }
        verdict
    }
}

/// The transactions of all messages of one type in a call.
fn messages(call: &str, kind: &str) -> Vec<String> {
    let bytes = call.split("iov_base=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let hex = bytes.map(|bytes| bytes.replace("\\x", ""));
    hex.filter(|hex| hex.get(OPTIONS - COOKIE.len()..OPTIONS) == Some(COOKIE))
        .filter(|hex| hex.get(OPTIONS..).is_some_and(|options| options.starts_with(kind)))
        .filter_map(|hex| hex.get(XID).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(xid: u8, kind: &str) -> String {
        let hex = format!(
            "02010600{}{xid:02x}{}{COOKIE}{kind}ff",
            "000000",
            "0".repeat(OPTIONS - COOKIE.len() - 16)
        );
        let escaped: Vec<String> =
            hex.as_bytes().chunks(2).map(|pair| format!("\\x{}", String::from_utf8_lossy(pair))).collect();
        format!("{{msg_hdr={{msg_iov=[{{iov_base=\"{}\", iov_len=300}}]}}}}", escaped.concat())
    }

    #[test]
    fn ack_behind_its_sync_is_fine_and_an_offer_needs_none() {
        let trace = format!(
            "7  recvmmsg(3, [{}, {}], 64, MSG_DONTWAIT, NULL) = 2\n7  sendmmsg(3, [{}], 1, 0) = 1\n\
             7  fdatasync(9) = 0\n7  sendmmsg(3, [{}], 1, 0) = 1\n",
            message(1, REQUEST),
            message(2, "350101"),
            message(2, "350102"),
            message(1, ACK)
        );
        assert_eq!(Verdict::of(&trace), Verdict { acks: 1, syncs: 1, early: 0 });
    }

    #[test]
    fn ack_without_a_sync_of_its_own_process_is_seen() {
        let asked = format!("7  recvmmsg(3, [{}], 64, 0, NULL) = 1\n", message(1, REQUEST));
        let answered = format!("7  sendmmsg(3, [{}], 1, 0 <unfinished ...>\n", message(1, ACK));
        for between in
            ["", "8  fdatasync(9) = 0\n", "7  fdatasync(9 <unfinished ...>\n", "7  fdatasync(9) = -1 EIO\n"]
        {
            assert_eq!(Verdict::of(&format!("{asked}{between}{answered}")).early, 1, "{between}");
        }
        let resumed = "7  fdatasync(9 <unfinished ...>\n8  recvmmsg(3, [], 1, 0) = 0\n7  <... fdatasync resumed>) = 0\n";
        assert_eq!(Verdict::of(&format!("{asked}{resumed}{answered}")).early, 0);
        assert_eq!(Verdict::of(&format!("7  fdatasync(9) = 0\n{asked}{answered}")).early, 1);
    }

    #[test]
    fn answer_to_what_came_before_the_trace_does_not_count() {
        assert_eq!(
            Verdict::of(&format!("7  sendmmsg(3, [{}], 1, 0) = 1\n", message(1, ACK))),
            Verdict::default()
        );
    }
}
