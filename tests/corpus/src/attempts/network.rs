//! Destinations that no build may reach, and the host's network itself.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
};

use super::{
    ipc::ANSWER_MAX,
    tools::{found_token, read},
};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "network.loopback",
        "services that trust the machine",
        "a port of the host on 127.0.0.1",
        |g| reach(g, "127.0.0.1"),
    ),
    attempt(
        "network.loopback-any",
        "0.0.0.0 day (2024)",
        "the same by 0.0.0.0",
        |g| reach(g, "0.0.0.0"),
    ),
    attempt(
        "network.loopback-alias",
        "filters on one address",
        "the same by 127.8.8.8",
        |g| reach(g, "127.8.8.8"),
    ),
    attempt(
        "network.loopback-6",
        "filters of one family",
        "a port of the host on ::1",
        |g| reach(g, "[::1]"),
    ),
    attempt(
        "network.loopback-mapped",
        "filters of one family",
        "a port of the host by ::ffff:127.0.0.1",
        |g| reach(g, "[::ffff:127.0.0.1]"),
    ),
    attempt(
        "network.metadata",
        "Capital One (2019)",
        "the cloud's metadata service at 169.254.169.254",
        |g| reach(g, "169.254.169.254"),
    ),
    attempt(
        "network.metadata-6",
        "the same by the newer family",
        "the cloud's metadata service at fd00:ec2::254",
        |g| reach(g, "[fd00:ec2::254]"),
    ),
    attempt(
        "network.private-10",
        "RFC 1918",
        "a machine of the donor's network, 10/8",
        |g| reach(g, "10.99.0.1"),
    ),
    attempt(
        "network.private-172",
        "RFC 1918",
        "a machine of the donor's network, 172.16/12",
        |g| reach(g, "172.16.99.1"),
    ),
    attempt(
        "network.private-192",
        "RFC 1918",
        "a machine of the donor's network, 192.168/16",
        |g| reach(g, "192.168.99.1"),
    ),
    attempt(
        "network.carrier",
        "RFC 6598",
        "a machine behind a provider's address translation",
        |g| reach(g, "100.64.99.1"),
    ),
    attempt(
        "network.local-6",
        "RFC 4193",
        "a machine of the donor's network, fc00::/7",
        |g| reach(g, "[fd00:99::1]"),
    ),
    attempt(
        "network.public",
        "exfiltration, attacks in the donor's name",
        "a public address without being allowed to",
        |g| reach(g, "203.0.113.7"),
    ),
    attempt(
        "network.datagram",
        "filters of one protocol",
        "a datagram to a port of the host",
        |g| datagram(g, "127.0.0.1"),
    ),
    attempt(
        "network.datagram-private",
        "name servers as a way out",
        "a datagram to the donor's network",
        |g| datagram(g, "10.99.0.1"),
    ),
    attempt(
        "network.multicast",
        "mDNS: finding machines",
        "a datagram to a multicast group that the host listens to",
        |g| datagram(g, "224.0.0.251"),
    ),
    attempt(
        "network.listen",
        "serving strangers from a donor's machine",
        "open a port on the host's network",
        |g| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            drop(listener);
            host_network(g, "a port of the host was opened")
        },
    ),
    attempt(
        "network.low-port",
        "CAP_NET_BIND_SERVICE",
        "open a port below 1024 on the host's network",
        |g| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 81))?;
            drop(listener);
            host_network(g, "port 81 of the host was opened")
        },
    ),
    attempt(
        "network.interfaces",
        "CAP_NET_ADMIN",
        "change an interface of the host",
        interface,
    ),
    attempt(
        "network.connections",
        "host network namespace",
        "list the open ports of the host",
        |g| {
            let port = format!(":{:04X} ", g.number("port"));
            let bytes = [
                read("/proc/net/tcp")?,
                read("/proc/net/tcp6").unwrap_or_default(),
            ]
            .concat();
            match String::from_utf8_lossy(&bytes).contains(&port) {
                true => Ok("the canary's port is listed".to_owned()),
                false => Err(no_effect("it is not listed")),
            }
        },
    ),
    attempt(
        "network.addresses",
        "names of the host",
        "learn the addresses of the host",
        |g| {
            let bytes = read("/proc/net/fib_trie")?;
            let _ = g;
            match String::from_utf8_lossy(&bytes).contains("10.99.0.1") {
                true => Ok("they are listed".to_owned()),
                false => Err(no_effect("they are not listed")),
            }
        },
    ),
];

fn host_network(ground: &Ground, how: &str) -> Tried {
    match ground.is_host_namespace("net") {
        true => Ok(how.to_owned()),
        false => Err(no_effect("it is the job's own network")),
    }
}

fn address(ground: &Ground, host: &str) -> Result<SocketAddr, std::io::Error> {
    let text = format!("{host}:{}", ground.number("port"));
    text.parse()
        .map_err(|_| std::io::ErrorKind::InvalidInput.into())
}

/// Through if whoever answers knows the token.
pub(super) fn answered(ground: &Ground, mut stream: TcpStream) -> Tried {
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut bytes = [0; 256];
    let got = stream.read(&mut bytes)?;
    found_token(ground, &bytes[..got], "a port")
}

fn reach(ground: &Ground, host: &str) -> Tried {
    answered(
        ground,
        TcpStream::connect_timeout(&address(ground, host)?, ANSWER_MAX)?,
    )
}

fn datagram(ground: &Ground, host: &str) -> Tried {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.send_to(b"x", address(ground, host)?)?;
    let mut bytes = [0; 256];
    let (got, _) = socket.recv_from(&mut bytes)?;
    found_token(ground, &bytes[..got], "a datagram")
}

/// Gives the loopback interface the size that it has.
fn interface(ground: &Ground) -> Tried {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let fd = i64::from(socket.as_raw_fd());
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let (get, set) = (0x8921, 0x8922);
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(get), Arg::W(&mut request)],
    )?;
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(set), Arg::W(&mut request)],
    )?;
    host_network(ground, "an interface of the host was changed")
}
