//! What runs the daemon for long. `echo-bench` runs our daemon, its peers and the ceilings of DESIGN §11 in turn under the same load, and
//! makes tables and plots of what it found (`scripts/bench`). `echo-soak` has our daemon serve mixed traffic for half an hour while it is
//! reloaded, killed and upgraded (`scripts/soak`). Both need root.
//!
//! | module | owns |
//! |---|---|
//! | `bench` | the command line and the rounds of the bench |
//! | `place` | the machine in words, and whether the disk is one |
//! | `netns` | two namespaces and the cable between them |
//! | `servers` | the DHCP servers: configuration, start, stop |
//! | `load` | the load generator, and what it reports |
//! | `tree` | CPU time and memory of a process and its descendants |
//! | `dhcp` `echo` `growth` `durability` (`trace`) | what is measured |
//! | `book` | the samples of all rounds, and the JSON file of them |
//! | `aims` `table` `plot` `document` | what is made of the book |
//! | `soak` | the long run: traffic, troubles, samples, verdict |

#![forbid(unsafe_code)]

mod aims;
mod bench;
mod book;
mod dhcp;
mod document;
mod durability;
mod echo;
mod growth;
mod load;
mod netns;
mod place;
mod plot;
mod servers;
mod soak;
mod table;
mod trace;
mod tree;

pub use bench::bench;
pub use soak::soak;
