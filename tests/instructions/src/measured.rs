//! One function for each kind of packet: valgrind counts what is run within each, whatever it calls. So none of them may be
//! inlined, and nothing else stands in this file.
//!
//! What follows the batch keeps the call from becoming a jump, and each function from being the same code as another.

use std::hint::black_box;

use echo_daemon::dhcp::Reply;
use echo_daemon::lease::Access;

use crate::world::{Way, World};

/// A batch of packets with the way each came.
pub(crate) type Packets = [(Vec<u8>, Way)];

macro_rules! measured {
    ($($(#[doc = $doc:literal])+ $name:ident $access:ident;)+) => {
        $($(#[doc = $doc])+
        #[inline(never)]
        pub(crate) fn $name(world: &mut World, packets: &Packets) -> Vec<Reply> {
            let replies = world.batch(Access::$access, packets);
            black_box(stringify!($name));
            replies
        })+

        /// The names of all of them.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

measured! {
    /// DISCOVER of a new client on our own link.
    discover Read;
    /// REQUEST that follows.
    request Write;
    /// Renewal after half of the lease time.
    renew Write;
    /// A client restarts and asks for the address that it had.
    reboot Write;
    /// INFORM.
    inform Read;
    /// DISCOVER of a client that a class says something of and whose name is a full one.
    discover_pxe Read;
    /// DISCOVER through a relay, with option 82.
    relayed_discover Read;
    /// REQUEST through a relay, with option 82.
    relayed_request Write;
    /// RELEASE.
    release Write;
    /// A packet that is cut short.
    malformed Read;
    /// A client that is denied.
    denied Read;
    /// Renewal whose lease is logged.
    renew_logged Write;
    /// Renewal whose record the limit keeps back.
    renew_limited Write;
}
