//! The kernel's queue of packets that wait for a word from a program (nfnetlink_queue): whether they
//! go on. Just so much of its protocol as the shim needs: packets come in as numbers, verdicts go
//! out. The packets themselves stay in the kernel.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{self, SocketAddrNetlink},
    recv, send, socket_with, sockopt,
};

use super::lan::enter;

/// Packets that may wait at once.
const WAITING_MAX: u32 = 16 * 1024;
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

// Of linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nfnetlink_queue.h.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const ERROR: u16 = 2;
const QUEUE: u16 = 3 << 8;
const PACKET: u16 = QUEUE;
const VERDICT: u16 = QUEUE | 1;
const CONFIG: u16 = QUEUE | 2;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const ATTR_PACKET_HEADER: u16 = 1;
const ATTR_VERDICT: u16 = 2;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMS: u16 = 2;
const CONFIG_LENGTH: u16 = 3;
const COMMAND_BIND: u8 = 1;
const COPY_META: u8 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// The queue with number 0 of one network namespace.
#[derive(Debug)]
pub(super) struct Queue(OwnedFd);

impl Queue {
    /// Takes over the queue of a namespace.
    pub(super) fn open(namespace: &str) -> io::Result<Self> {
        // The socket belongs to the namespace that its maker is in.
        let queue = enter(namespace, || {
            let kind = Some(netlink::NETFILTER);
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind)?;
            bind(&socket, &SocketAddrNetlink::new(0, 0))?;
            sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
            Ok::<_, io::Error>(Self(socket))
        })?;
        queue.configure(CONFIG_COMMAND, &[COMMAND_BIND, 0, 0, 0])?;
        queue.configure(CONFIG_PARAMS, &[0, 0, 0, 0, COPY_META])?;
        queue.configure(CONFIG_LENGTH, &WAITING_MAX.to_be_bytes())?;
        Ok(queue)
    }

    fn configure(&self, attribute: u16, value: &[u8]) -> io::Result<()> {
        let asked = message(CONFIG, FLAG_REQUEST | FLAG_ACK, attribute, value);
        send(&self.0, &asked, SendFlags::empty())?;
        let mut bytes = [0; 1024];
        let (length, _) = recv(&self.0, &mut bytes[..], RecvFlags::empty())?;
        let code = error_code(&bytes[..length]).ok_or(io::ErrorKind::InvalidData)?;
        match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// The packets that have come, by their numbers; none if there are none now.
    pub(super) fn arrived(&self, buffer: &mut [u8], mut each: impl FnMut(u32)) {
        while let Ok((length, _)) = recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT) {
            messages(&buffer[..length], |kind, body| {
                if kind == PACKET
                    && let Some(number) = packet_number(body)
                {
                    each(number);
                }
            });
        }
    }

    /// Lets a packet go on, or not.
    pub(super) fn judge(&self, number: u32, goes_on: bool) {
        let verdict = if goes_on { ACCEPT } else { DROP };
        let mut value = verdict.to_be_bytes().to_vec();
        value.extend(number.to_be_bytes());
        let said = message(VERDICT, FLAG_REQUEST, ATTR_VERDICT, &value);
        // The namespace may be on its way out.
        let _ = send(&self.0, &said, SendFlags::empty());
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A message with one attribute.
fn message(kind: u16, flags: u16, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + value.len();
    let length = HEADER + FAMILY_HEADER + attribute_length.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).expect("a few bytes").to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Number and sender of the message, then family, version and number of the queue.
    bytes.extend([0; 8]);
    bytes.extend([0; FAMILY_HEADER]);
    let attribute_length = u16::try_from(attribute_length).expect("a few bytes");
    bytes.extend(attribute_length.to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length, 0);
    bytes
}

/// Kind and body of each message.
fn messages(mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while let Some(header) = bytes.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(HEADER..length) else {
            return;
        };
        each(u16::from_ne_bytes([header[4], header[5]]), body);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn error_code(bytes: &[u8]) -> Option<i32> {
    let mut code = None;
    messages(bytes, |kind, body| {
        if kind == ERROR
            && let Some(first) = body.first_chunk::<4>()
        {
            code = code.or(Some(i32::from_ne_bytes(*first)));
        }
    });
    code
}

/// The number in the first attribute of its kind.
fn packet_number(body: &[u8]) -> Option<u32> {
    let mut rest = body.get(FAMILY_HEADER..)?;
    while let Some(header) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = rest.get(4..length)?;
        if kind == ATTR_PACKET_HEADER {
            return value
                .first_chunk::<4>()
                .map(|number| u32::from_be_bytes(*number));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_messages_hold_no_packet() {
        let mut whole = message(PACKET, 0, ATTR_PACKET_HEADER, &[0, 0, 1, 7, 8, 0, 4]);
        let mut seen = Vec::new();
        messages(&whole, |kind, body| seen.push((kind, packet_number(body))));
        assert_eq!(seen, [(PACKET, Some(263))]);
        for length in 0..whole.len() {
            messages(&whole[..length], |_, _| {
                panic!("{length} bytes are a message")
            });
        }
        // An attribute that says it is longer than the message, or shorter than its own header.
        for length in [200u16, 0, 3] {
            whole[HEADER + FAMILY_HEADER..][..2].copy_from_slice(&length.to_ne_bytes());
            messages(&whole, |_, body| assert_eq!(packet_number(body), None));
        }
    }
}
