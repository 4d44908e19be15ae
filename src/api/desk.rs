//! Work that waits for a disk: done beside the async loop, a few pieces at a time, each within a deadline. The resources that
//! read or write the lease file use it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::config::Config;
use crate::lease::StoreError;

/// Pieces of work on the lease file at once; further ones wait for their turn.
const SEATS: usize = 4;
/// How long a request waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// How long reading may take.
pub const READ_WITHIN: Duration = Duration::from_secs(20);
/// How long writing may take: three seconds for its turn among the writers, then the disk.
pub const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// The places where work is done.
#[derive(Debug)]
pub struct Desk {
    seats: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self::of(SEATS)
    }
}

impl Desk {
    /// With so many places.
    pub fn of(seats: usize) -> Self {
        Self { seats: Arc::new(Semaphore::new(seats)) }
    }

    /// Does a piece of work within its time. What takes longer goes on by itself and keeps its seat meanwhile.
    pub async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let seat = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.seats).acquire_owned()).await;
        let Ok(Ok(seat)) = seat else {
            return Err(unavailable("too many requests wait for their turn"));
        };
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(seat);
            result
        });
        match tokio::time::timeout(within, work).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => {
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request made the daemon fail"))
            }
            Err(_) => {
                let detail =
                    format!("no result within {} s; a change may still come into force", within.as_secs());
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
            }
        }
    }
}

/// 503: for now.
pub fn unavailable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).field(header::RETRY_AFTER, "1")
}

/// Why the lease file was of no use; nothing was changed.
pub fn store_problem(error: &StoreError) -> Problem {
    // What to do about it stands on a line of its own.
    unavailable(error.to_string().replace('\n', "; ")).of_kind("Lease file not available")
}

/// Whether there is no lease file, for nobody ever was to have a lease. Where DHCP is on, one that is missing is a mishap.
pub fn is_missing(config: &Config, error: &StoreError) -> bool {
    !config.dhcp.enabled
        && matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
