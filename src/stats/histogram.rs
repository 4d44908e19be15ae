//! The table of histograms: what each measures, its buckets, its place in `/v1/stats`; and what can be read from the
//! counts of one: its quantiles.

/// A histogram: fixed upper bounds, in the unit of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Histogram {
    /// From the receipt of a DHCP packet to the sending of its reply.
    DhcpResponse,
    /// Time that a COMMIT (with its fsync) takes.
    DhcpCommit,
    /// Packets in a batch.
    DhcpBatch,
    /// Time that the oldest packet of a batch waited in the socket.
    StageQueue,
    /// Time to parse and to admit the packets of a batch.
    StageParse,
    /// Time to begin a transaction: the writers' queue, and catching up with the others.
    StageBegin,
    /// Time to decide on the packets of a batch: subnets, leases, options, replies.
    StageHandle,
    /// Time to send the replies of a batch.
    StageSend,
}

/// The counts of one histogram: one a bucket, those beyond all bounds, the sum.
pub type Words = [u64; Histogram::WORDS];

impl Histogram {
    /// All of them, in the order of the shared memory; those of one family side by side.
    pub const ALL: &'static [Self] = &[
        Self::DhcpResponse,
        Self::DhcpCommit,
        Self::DhcpBatch,
        Self::StageQueue,
        Self::StageParse,
        Self::StageBegin,
        Self::StageHandle,
        Self::StageSend,
    ];
    /// Upper bounds at most, without infinity.
    pub const BUCKETS: usize = 14;
    /// Words in shared memory: one a bucket, infinity, the sum.
    pub const WORDS: usize = Self::BUCKETS + 2;

    /// Name of the metric family.
    pub const fn family(self) -> &'static str {
        match self {
            Self::DhcpResponse => "echo_daemon_dhcp_response_seconds",
            Self::DhcpCommit => "echo_daemon_dhcp_commit_seconds",
            Self::DhcpBatch => "echo_daemon_dhcp_batch_size",
            Self::StageQueue | Self::StageParse | Self::StageBegin | Self::StageHandle | Self::StageSend => {
                "echo_daemon_dhcp_stage_seconds"
            }
        }
    }

    /// Label names and values.
    pub const fn labels(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::DhcpResponse | Self::DhcpCommit | Self::DhcpBatch => &[],
            Self::StageQueue => &[("stage", "queue")],
            Self::StageParse => &[("stage", "parse")],
            Self::StageBegin => &[("stage", "begin")],
            Self::StageHandle => &[("stage", "handle")],
            Self::StageSend => &[("stage", "send")],
        }
    }

    /// Where it stands in `/v1/stats` (`stats::document`).
    pub const fn place(self) -> &'static str {
        match self {
            Self::DhcpResponse => "dhcp.latency.response",
            Self::DhcpCommit => "dhcp.latency.commit",
            Self::DhcpBatch => "dhcp.batch_size",
            Self::StageQueue | Self::StageParse | Self::StageBegin | Self::StageHandle | Self::StageSend => {
                "dhcp.latency.stages.{stage}"
            }
        }
    }

    /// What it means.
    pub const fn help(self) -> &'static str {
        match self {
            Self::DhcpResponse => "Time from the receipt of a DHCP packet to the sending of its reply",
            Self::DhcpCommit => "Time that a commit of the lease file takes, with its fsync",
            Self::DhcpBatch => "DHCP packets handled in one batch",
            Self::StageQueue | Self::StageParse | Self::StageBegin | Self::StageHandle | Self::StageSend => {
                "Time that a batch of DHCP packets spends in a stage; commits stand in echo_daemon_dhcp_commit_seconds"
            }
        }
    }

    /// Units of the stored value in one unit of the name: durations are stored in nanoseconds.
    pub const fn scale(self) -> f64 {
        if self.is_time() { 1e9 } else { 1.0 }
    }

    /// Whether it measures time.
    pub const fn is_time(self) -> bool {
        match self {
            Self::DhcpResponse
            | Self::DhcpCommit
            | Self::StageQueue
            | Self::StageParse
            | Self::StageBegin
            | Self::StageHandle
            | Self::StageSend => true,
            Self::DhcpBatch => false,
        }
    }

    /// Upper bounds of the buckets in stored units, rising.
    pub const fn bounds(self) -> &'static [u64; Self::BUCKETS] {
        const US: u64 = 1_000;
        const MS: u64 = 1_000_000;
        match self {
            Self::DhcpResponse | Self::DhcpCommit => &[
                50 * US,
                100 * US,
                250 * US,
                500 * US,
                MS,
                2_500 * US,
                5 * MS,
                10 * MS,
                25 * MS,
                50 * MS,
                100 * MS,
                250 * MS,
                1_000 * MS,
                5_000 * MS,
            ],
            Self::StageQueue | Self::StageParse | Self::StageBegin | Self::StageHandle | Self::StageSend => {
                &[
                    5 * US,
                    10 * US,
                    25 * US,
                    50 * US,
                    100 * US,
                    250 * US,
                    500 * US,
                    MS,
                    2_500 * US,
                    5 * MS,
                    25 * MS,
                    100 * MS,
                    500 * MS,
                    2_500 * MS,
                ]
            }
            Self::DhcpBatch => &[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64],
        }
    }

    /// How many values were taken in.
    pub fn count(words: &Words) -> u64 {
        words.iter().take(Self::BUCKETS + 1).sum()
    }

    /// The value below which a share `q` of all lies, in the unit of the name: interpolated within its bucket, as if the
    /// values lay evenly there, so it is as exact as the buckets are narrow. Beyond all bounds it is the highest bound.
    /// `None` where nothing was taken in.
    pub fn quantile(self, words: &Words, q: f64) -> Option<f64> {
        let count = Self::count(words);
        let rank = q.clamp(0.0, 1.0) * number(count);
        let mut below = 0.0;
        let mut lower = 0.0;
        for (bound, within) in self.bounds().iter().zip(words) {
            let (upper, within) = (number(*bound) / self.scale(), number(*within));
            if within > 0.0 && below + within >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / within));
            }
            below += within;
            lower = upper;
        }
        (count > 0).then_some(lower)
    }
}

/// Figures for people are floating-point numbers: exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits are nobody's concern")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise() {
        for histogram in Histogram::ALL {
            assert!(histogram.bounds().is_sorted());
        }
    }

    #[test]
    fn quantile_lies_within_the_bucket_of_its_rank() {
        let mut words = [0; Histogram::WORDS];
        assert_eq!(Histogram::DhcpCommit.quantile(&words, 0.5), None);
        words[1] = 100;
        let quantile = |words: &Words, q| Histogram::DhcpCommit.quantile(words, q).unwrap();
        assert!((quantile(&words, 0.5) - 75e-6).abs() < 1e-9);
        assert!((quantile(&words, 1.0) - 100e-6).abs() < 1e-9);
        words[3] = 1;
        assert!((250e-6..=500e-6).contains(&quantile(&words, 0.999)));
        words[Histogram::BUCKETS] = 1_000;
        assert!((quantile(&words, 0.99) - 5.0).abs() < 1e-9, "beyond all bounds it is the highest");
    }
}
