//! Batches over loopback.

use super::*;
use crate::socket::udp_echo;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

const LONGEST: usize = 65_507;

fn server(address: &str) -> (OwnedFd, u16) {
    let fd = udp_echo(address.parse().unwrap()).unwrap();
    let port = UdpSocket::from(fd.try_clone().unwrap()).local_addr().unwrap().port();
    (fd, port)
}

fn client(address: &str) -> UdpSocket {
    let client = UdpSocket::bind(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Receives once something is there.
fn receive(batch: &mut DatagramBatch, fd: &OwnedFd) -> usize {
    use nix::poll::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], 10_000u16).unwrap();
    batch.receive(fd.as_fd()).unwrap()
}

fn echo_all(batch: &mut DatagramBatch, fd: &OwnedFd) -> Sent {
    batch.send_back(fd.as_fd(), &mut |_| true)
}

#[test]
fn nothing_there_is_zero() {
    let (fd, _) = server("127.0.0.1:0");
    let mut batch = DatagramBatch::new(4, 64, 128);
    assert_eq!(batch.receive(fd.as_fd()).unwrap(), 0);
    assert!(batch.is_empty());
}

#[test]
fn many_datagrams_come_back_in_one_batch_even_an_empty_one() {
    let (fd, port) = server("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let texts: [&[u8]; 3] = [b"one", b"", b"three"];
    for text in texts {
        client.send_to(text, ("127.0.0.1", port)).unwrap();
    }
    let mut batch = DatagramBatch::new(8, 4, 65_535);
    assert_eq!(receive(&mut batch, &fd), 3);
    assert_eq!(batch.get(2).head, b"thre");
    assert_eq!(batch.get(2).tail, b"e");
    assert!(batch.get(1).is_empty());
    assert_eq!(batch.get(0).peer, client.local_addr().unwrap());
    assert_eq!(echo_all(&mut batch, &fd), Sent { sent: 3, bytes: 8, ..Sent::default() });
    let mut buffer = [0; 16];
    for text in texts {
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], text);
    }
}

#[test]
fn longest_datagram_comes_back_whole() {
    let (fd, port) = server("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let sent: Vec<u8> = (0..LONGEST).map(|i| u8::try_from(i % 251).unwrap()).collect();
    client.send_to(&sent, ("127.0.0.1", port)).unwrap();
    let mut batch = DatagramBatch::new(2, 4096, 65_535);
    assert_eq!(receive(&mut batch, &fd), 1);
    assert_eq!(batch.get(0).len(), LONGEST);
    assert!(!batch.get(0).truncated);
    assert_eq!(echo_all(&mut batch, &fd).sent, 1);
    let mut back = vec![0; LONGEST + 1];
    let length = client.recv(&mut back).unwrap();
    assert!(back[..length] == sent[..]);
}

#[test]
fn datagram_beyond_the_memory_is_marked_truncated() {
    let (fd, port) = server("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    client.send_to(&[7; 101], ("127.0.0.1", port)).unwrap();
    client.send_to(&[8; 100], ("127.0.0.1", port)).unwrap();
    for (slot, max) in [(64, 100), (100, 100)] {
        let mut batch = DatagramBatch::new(1, slot, max);
        assert_eq!(receive(&mut batch, &fd), 1);
        assert_eq!(batch.get(0).len(), 100);
        assert_eq!(batch.get(0).truncated, batch.get(0).head[0] == 7);
    }
}

#[test]
fn reply_comes_from_the_address_that_was_asked() {
    let (fd, port) = server("0.0.0.0:0");
    let client = client("127.0.0.1:0");
    client.send_to(b"hello", ("127.0.0.2", port)).unwrap();
    let mut batch = DatagramBatch::new(4, 64, 128);
    receive(&mut batch, &fd);
    let asked = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(batch.get(0).local, Some(asked));
    assert_eq!(batch.get(0).reply_from, Some(asked));
    assert!(batch.get(0).interface > 0);
    assert_eq!(echo_all(&mut batch, &fd).sent, 1);
    let (_, from) = client.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from, SocketAddr::from((asked, port)));
}

#[test]
fn ipv6_is_echoed() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return; // a machine without IPv6
    }
    let (fd, port) = server("[::]:0");
    let client = client("[::1]:0");
    client.send_to(b"hello", ("::1", port)).unwrap();
    let mut batch = DatagramBatch::new(4, 64, 128);
    receive(&mut batch, &fd);
    assert_eq!(batch.get(0).peer, client.local_addr().unwrap());
    assert_eq!(batch.get(0).local, Some("::1".parse().unwrap()));
    assert_eq!(echo_all(&mut batch, &fd).sent, 1);
    let (length, from) = client.recv_from(&mut [0; 16]).unwrap();
    assert_eq!((length, from), (5, format!("[::1]:{port}").parse().unwrap()));
}

#[test]
fn only_what_is_kept_is_sent_back() {
    let (fd, port) = server("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    for text in [b"0", b"1", b"2"] {
        client.send_to(text, ("127.0.0.1", port)).unwrap();
    }
    let mut batch = DatagramBatch::new(4, 64, 128);
    assert_eq!(receive(&mut batch, &fd), 3);
    assert_eq!(batch.send_back(fd.as_fd(), &mut |i| i != 1).sent, 2);
    let mut buffer = [0; 4];
    for text in [b"0", b"2"] {
        assert_eq!(client.recv(&mut buffer).unwrap(), 1);
        assert_eq!(&buffer[..1], text);
    }
}

#[test]
fn destination_that_fails_is_skipped() {
    let (fd, port) = server("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let SocketAddr::V4(good) = client.local_addr().unwrap() else { unreachable!() };
    // Port 0 is no destination, and a broadcast is refused without SO_BROADCAST.
    let bad = [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), SocketAddrV4::new(Ipv4Addr::BROADCAST, 9)];
    let mut batch = ReplyBatch::new(5, 16);
    for dest in [bad[0], good, bad[1], bad[0], good] {
        batch.push(b"hello", dest, Some(Ipv4Addr::LOCALHOST), 0).unwrap();
    }
    assert_eq!(batch.push(b"one more", good, None, 0), Err(Full { bytes: 8 }));
    let sent = batch.flush(fd.as_fd());
    assert_eq!((sent.sent, sent.bytes, sent.failed, sent.failed_bits.count_ones()), (2, 10, 3, 3));
    assert!(sent.error.is_some());
    for _ in 0..2 {
        let (length, from) = client.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, from.port()), (5, port));
    }
    assert!(batch.is_empty());
    assert_eq!(batch.flush(fd.as_fd()), Sent::default());
}

#[test]
fn reply_leaves_from_the_source_it_is_given() {
    let (fd, port) = server("0.0.0.0:0");
    let client = client("127.0.0.1:0");
    let SocketAddr::V4(dest) = client.local_addr().unwrap() else { unreachable!() };
    let source = Ipv4Addr::new(127, 0, 0, 3);
    let loopback = crate::socket::interfaces().unwrap().into_iter().find(|each| each.loopback).unwrap();
    let mut batch = ReplyBatch::new(1, 16);
    batch.push(b"hello", dest, Some(source), loopback.index).unwrap();
    assert_eq!(batch.flush(fd.as_fd()).sent, 1);
    let (_, from) = client.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from, SocketAddr::from((source, port)));
}

#[test]
fn payload_longer_than_a_place_is_refused() {
    let mut batch = ReplyBatch::new(2, 4);
    let dest = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    assert_eq!(batch.push(b"hello", dest, None, 0), Err(Full { bytes: 5 }));
    assert!(batch.is_empty());
}

#[test]
fn what_the_kernel_dropped_is_reported() {
    use nix::sys::socket::{setsockopt, sockopt};
    let (fd, port) = server("127.0.0.1:0");
    setsockopt(&fd, sockopt::RcvBuf, &1).unwrap();
    let client = client("127.0.0.1:0");
    for _ in 0..100 {
        client.send_to(&[0; 1000], ("127.0.0.1", port)).unwrap();
    }
    let mut batch = DatagramBatch::new(64, 1024, 1024);
    let first = receive(&mut batch, &fd);
    // The figure travels with a datagram that was queued after the loss.
    client.send_to(b"last", ("127.0.0.1", port)).unwrap();
    assert_eq!(receive(&mut batch, &fd), 1);
    assert_eq!(usize::try_from(batch.kernel_drops()).unwrap() + first, 100);
}
