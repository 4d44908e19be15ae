//! `bulk-loop`: the ceiling of `bulk`. One process, one connection after another: read, write, nothing else. Without
//! `TCP_NODELAY`, which would send each buffer in packets of its own: here nobody waits for a short answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;

use anyhow::Context;
use serde::Serialize;

/// As the echo service's default.
const BUFFER_BYTES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes any
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Bytes of the buffer
    #[arg(long, default_value_t = BUFFER_BYTES)]
    buffer: NonZeroUsize,
}

#[derive(Serialize)]
struct Listening {
    listening: SocketAddr,
}

/// Serves until a signal ends the process; SIGTERM is at its default.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).with_context(|| format!("could not listen on {}", args.listen))?;
    crate::print(&Listening { listening: listener.local_addr()? })?;
    let mut buffer = vec![0; args.buffer.get()];
    loop {
        let (mut stream, _) = listener.accept().context("could not accept")?;
        echo(&mut stream, &mut buffer);
    }
}

/// Until the end of the connection, however it comes: the other side counts what it got.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) {
    loop {
        match stream.read(buffer) {
            Ok(0) => return,
            Ok(read) => {
                if stream.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
