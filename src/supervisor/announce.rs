//! What becomes of workers, configurations and interfaces: logged, and kept in shared memory for those who follow
//! `GET /v1/events`. The one way by which main tells both.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::events::Event;
use crate::stats::Shared;

/// Logs an event like [`event!`](crate::event) and keeps it for the control API; the first argument is the shared memory.
///
/// `announce!(self.shared, WorkerDied, pid = child.pid; "{name} has died")`
macro_rules! announce {
    ($shared:expr, $event:ident, pid = $pid:expr; $($message:tt)+) => {{
        $crate::event!($event, pid = $pid; $($message)+);
        let pid = Some($pid.as_raw());
        $crate::supervisor::announce::keep($shared, $crate::events::Event::$event, pid, &format!($($message)+));
    }};
    ($shared:expr, $event:ident $(, $key:ident = $value:expr)*; $($message:tt)+) => {{
        $crate::event!($event $(, $key = $value)*; $($message)+);
        $crate::supervisor::announce::keep($shared, $crate::events::Event::$event, None, &format!($($message)+));
    }};
}
pub(super) use announce;

/// The second half of [`announce!`].
pub(super) fn keep(shared: Shared, event: Event, pid: Option<i32>, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    shared.happened().push(event, unix_ms, pid, text);
}
