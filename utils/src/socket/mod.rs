//! Sockets as this project needs them: how each kind is opened, batches of datagrams, the machine's interfaces.
//!
//! Main opens every socket and its workers inherit them, so the functions here bind and set options but serve
//! nothing. Every descriptor comes back close-on-exec and nonblocking.
//!
//! | module | owns |
//! |---|---|
//! | `stream` | listening TCP and Unix sockets |
//! | `datagram` | UDP sockets for echo and for DHCP |
//! | [`batch`] | many datagrams in one system call, over memory allocated once |
//! | [`link`] | IP packets to a hardware address, without ARP |
//! | [`arp`], [`icmp`] | whether somebody uses an address: ARP probes, ICMP echo |
//! | [`interface`] | the machine's interfaces, and the news that they changed |

pub mod arp;
pub mod batch;
mod datagram;
pub mod icmp;
pub mod interface;
pub mod link;
mod stream;

pub use arp::{ArpClaim, arp_socket, receive_arp, send_arp_probe};
pub use batch::{Datagram, DatagramBatch, Full, ReplyBatch, Sent};
pub use datagram::{RECEIVE_BUFFER_BYTES, SocketMemory, dhcp_server, dropped, memory, udp_echo};
pub use icmp::{Echo, icmp_socket, receive_echo, send_echo};
pub use interface::{Interface, InterfaceWatch, interfaces};
pub use link::{LinkBatch, packet_sender, send_link};
pub use stream::{peer_groups, tcp_listener, unacknowledged, unix_listener};
