//! Reads what strace saw of the DHCP workers: whether each ACK left after the end of a sync that began after its REQUEST
//! had come.
//!
//! A call that another process's call interrupts stands on two lines, `… <unfinished ...>` and `<... NAME resumed>…`:
//! a send counts where it begins, a receive where its messages are shown. A worker may have a thread that waits for the disk.

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
    /// Reads the lines of `strace -f -xx`. `worker_of` tells whose thread a number is; a process is its own first.
    pub(crate) fn of(trace: &str, worker_of: &BTreeMap<String, String>) -> Self {
        let mut verdict = Self::default();
        // Of each transaction, who took its REQUEST and on which line.
        let mut asked: BTreeMap<String, (&str, usize)> = BTreeMap::new();
        // The line on which the sync under way of each thread began.
        let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
        // The line on which the latest sync that has ended began, of each worker: it covers what came before that.
        let mut synced: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, line) in trace.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim();
            let worker = worker_of.get(thread).map_or(thread, String::as_str);
            let begins = |name: &str| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('('));
            let resumes = |name: &str| call.starts_with(&format!("<... {name} resumed>"));
            let is = |name: &str| begins(name) || resumes(name);
            if is("fsync") || is("fdatasync") {
                if begins("fsync") || begins("fdatasync") {
                    begun.insert(thread, at);
                }
                if call.ends_with("= 0")
                    && let Some(start) = begun.remove(thread)
                {
                    verdict.syncs += 1;
                    let latest = synced.entry(worker).or_default();
                    *latest = start.max(*latest);
                }
            } else if is("recvmmsg") {
                for xid in messages(call, REQUEST) {
                    asked.insert(xid, (worker, at));
                }
            } else if is("sendmmsg") {
                for xid in messages(call, ACK) {
                    let Some((taker, line)) = asked.remove(&xid) else { continue };
                    verdict.acks += 1;
                    // A lease is synced by the worker that took its REQUEST.
                    let covered = synced.get(taker).is_some_and(|start| *start > line);
                    verdict.early += u64::from(taker != worker || !covered);
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

    /// 9 is a thread of worker 7.
    fn of(trace: &str) -> Verdict {
        Verdict::of(trace, &BTreeMap::from([("9".to_owned(), "7".to_owned())]))
    }

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
        assert_eq!(of(&trace), Verdict { acks: 1, syncs: 1, early: 0 });
    }

    #[test]
    fn ack_without_a_sync_of_its_own_process_is_seen() {
        let asked = format!("7  recvmmsg(3, [{}], 64, 0, NULL) = 1\n", message(1, REQUEST));
        let answered = format!("7  sendmmsg(3, [{}], 1, 0 <unfinished ...>\n", message(1, ACK));
        for between in
            ["", "8  fdatasync(9) = 0\n", "7  fdatasync(9 <unfinished ...>\n", "7  fdatasync(9) = -1 EIO\n"]
        {
            assert_eq!(of(&format!("{asked}{between}{answered}")).early, 1, "{between}");
        }
        let resumed = "7  fdatasync(9 <unfinished ...>\n8  recvmmsg(3, [], 1, 0) = 0\n7  <... fdatasync resumed>) = 0\n";
        assert_eq!(of(&format!("{asked}{resumed}{answered}")).early, 0);
        assert_eq!(of(&format!("7  fdatasync(9) = 0\n{asked}{answered}")).early, 1);
    }

    #[test]
    fn sync_of_a_thread_covers_only_what_came_before_it_began() {
        let asked = format!("7  recvmmsg(3, [{}], 64, 0, NULL) = 1\n", message(1, REQUEST));
        let answered = format!("9  sendmmsg(3, [{}], 1, 0) = 1\n", message(1, ACK));
        let (begun, ended) = ("9  fdatasync(4 <unfinished ...>\n", "9  <... fdatasync resumed>) = 0\n");
        assert_eq!(of(&format!("{asked}{begun}7  recvmmsg(3, [], 1, 0) = 0\n{ended}{answered}")).early, 0);
        assert_eq!(of(&format!("{begun}{asked}{ended}{answered}")).early, 1);
    }

    #[test]
    fn answer_to_what_came_before_the_trace_does_not_count() {
        assert_eq!(of(&format!("7  sendmmsg(3, [{}], 1, 0) = 1\n", message(1, ACK))), Verdict::default());
    }
}
