//! One connection of a job: its request, the judgement, the way there and back.
//!
//! A connection carries one request. What the job sends after it is forgotten (or, in a tunnel, is
//! the tunnel's), so no second request can hide behind the first. Heads are parsed, judged and
//! written anew: what is forwarded is what was understood.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    limits::{
        ANSWER_BYTES_MAX, CONNECTION_COST, HEAD_BYTES_MAX, HELLO_BYTES_MAX, INTERIM_MAX,
        LINGER_BYTES_MAX,
    },
    policy::Target,
    session::Inner,
};

pub(crate) mod answer;
pub(crate) mod dial;
pub(crate) mod head;
pub(crate) mod hello;
pub(crate) mod relay;
pub(crate) mod upstream;

use answer::Fault;
use head::{Plain, Request};
use hello::Hello;
use relay::{Budget, Flow};

/// What a connection is served with.
pub(crate) struct Way<'a> {
    pub(crate) egress: &'a Inner,
    pub(crate) budget: &'a Budget,
}

/// Reads from a stream until `bytes` end with a head, whatever was in them. Gives what came after it;
/// where there is no head, all that was read is in `bytes`.
async fn read_head(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    max: usize,
    wait: Duration,
) -> Result<Vec<u8>, Fault> {
    let read = async {
        let (mut piece, mut from) = ([0; 4 << 10], 0);
        loop {
            let end = bytes[from..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                if from + end + 4 > max {
                    return Err(Fault::HeadTooLong(max));
                }
                return Ok(bytes.split_off(from + end + 4));
            }
            if bytes.len() > max {
                return Err(Fault::HeadTooLong(max));
            }
            // The end may straddle two pieces.
            from = bytes.len().saturating_sub(3);
            let count = stream.read(&mut piece).await.map_err(|_| Fault::Gone)?;
            if count == 0 {
                return Err(Fault::Gone);
            }
            bytes.extend_from_slice(&piece[..count]);
        }
    };
    timeout(wait, read).await.map_err(|_| Fault::Slow(wait))?
}

/// Reads a client's request.
pub(crate) async fn request(
    client: &mut TcpStream,
    wait: Duration,
) -> Result<(Request, Vec<u8>), Fault> {
    let mut head = Vec::new();
    let rest = read_head(client, &mut head, HEAD_BYTES_MAX, wait).await?;
    Ok((head::parse(&head)?, rest))
}

/// Answers what went wrong, if anybody is there to hear it.
pub(crate) async fn say(client: &mut TcpStream, fault: &Fault, wait: Duration) {
    if let Some(words) = fault.answer() {
        // Who does not listen does not hear.
        let _ = timeout(wait, client.write_all(&words)).await;
    }
}

/// Ends a connection so that the last words arrive: a socket that is closed over unread bytes takes
/// back what it has sent.
pub(crate) async fn linger(mut client: TcpStream, wait: Duration) {
    let read = async {
        let _ = client.shutdown().await;
        let (mut piece, mut left) = ([0; 4 << 10], LINGER_BYTES_MAX);
        while let Ok(count) = client.read(&mut piece).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                return;
            }
        }
    };
    let _ = timeout(wait, read).await;
}

impl Way<'_> {
    /// Serves the request of one connection.
    pub(crate) async fn serve(&self, client: &mut TcpStream) -> Result<(), Fault> {
        let (request, rest) = request(client, self.egress.times.head).await?;
        if self.budget.is_spent() {
            return Err(Fault::Spent(self.budget.whole()));
        }
        match request {
            Request::Tunnel(target) => self.tunnel(client, &target, rest).await,
            Request::Plain(plain) => self.plain(client, &plain).await,
        }
    }

    fn flow(&self) -> Flow<'_> {
        Flow {
            budget: self.budget,
            idle: self.egress.times.idle,
            linger: self.egress.times.linger,
        }
    }

    /// Reads a server's head that begins with `bytes`, and counts it, or what came in its place. Gives
    /// what came after it.
    async fn heard(
        &self,
        server: &mut TcpStream,
        bytes: &mut Vec<u8>,
        target: &Target,
    ) -> Result<Vec<u8>, Fault> {
        let read = read_head(server, bytes, ANSWER_BYTES_MAX, self.egress.times.answer).await;
        self.budget.charge(bytes.len() as u64)?;
        read.map_err(|fault| fault.of_server(target))
    }

    async fn tunnel(
        &self,
        client: &mut TcpStream,
        target: &Target,
        early: Vec<u8>,
    ) -> Result<(), Fault> {
        let leave = self.egress.policy.admit(target)?;
        if target.port == 80 || !leave.tunnel {
            return Err(Fault::TunnelToPlain(target.clone()));
        }
        self.budget.charge(CONNECTION_COST)?;
        // What the target said before the job did, where it came with the other proxy's grant.
        let mut said = Vec::new();
        let mut server = match self.egress.upstream_for(target, leave) {
            None => self.egress.dial(target, leave).await?,
            Some(upstream) => {
                let mut server = self.egress.dial_upstream(upstream).await?;
                self.send(&mut server, &upstream.connect(target)).await?;
                let mut head = Vec::new();
                said = self.heard(&mut server, &mut head, target).await?;
                upstream::granted(&head, target)?;
                server
            }
        };
        let granted = b"HTTP/1.1 200 Connection established\r\n\r\n";
        client.write_all(granted).await.map_err(|_| Fault::Gone)?;
        let mut first = early;
        if target.port == 443 {
            self.greet(client, target, &mut first).await?;
        }
        self.send(&mut server, &first).await?;
        self.send(client, &said).await?;
        self.flow().both(client, &mut server).await
    }

    /// Holds a tunnel to what it was asked for: TLS, to the host that was named.
    async fn greet(
        &self,
        client: &mut TcpStream,
        target: &Target,
        first: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let read = async {
            let mut piece = [0; 4 << 10];
            loop {
                match hello::read(first) {
                    Hello::Partial if first.len() < HELLO_BYTES_MAX => {}
                    Hello::Partial | Hello::Foreign => {
                        return Err(Fault::NotTls(target.clone()));
                    }
                    Hello::For(name) => {
                        let is_right = hello::fits(name.as_deref(), &target.host);
                        let target = target.clone();
                        return match is_right {
                            true => Ok(()),
                            false => Err(Fault::OtherName { target, name }),
                        };
                    }
                }
                let count = client.read(&mut piece).await.map_err(|_| Fault::Gone)?;
                if count == 0 {
                    return Err(Fault::Gone);
                }
                first.extend_from_slice(&piece[..count]);
            }
        };
        let wait = self.egress.times.idle;
        timeout(wait, read).await.map_err(|_| Fault::Gone)?
    }

    async fn plain(&self, client: &mut TcpStream, plain: &Plain) -> Result<(), Fault> {
        let Some(target) = &plain.target else {
            return Err(Fault::NotAProxyRequest);
        };
        let leave = self.egress.policy.admit(target)?;
        self.budget.charge(CONNECTION_COST)?;
        let (mut server, head) = match self.egress.upstream_for(target, leave) {
            None => {
                let server = self.egress.dial(target, leave).await?;
                (server, plain.written(target, None))
            }
            Some(upstream) => {
                let server = self.egress.dial_upstream(upstream).await?;
                (server, plain.written(target, Some(upstream)))
            }
        };
        self.send(&mut server, &head).await?;
        let (head, body) = self.answer(&mut server, plain, target).await?;
        client
            .write_all(&head.written())
            .await
            .map_err(|_| Fault::Gone)?;
        self.flow()
            .down(&mut server, client, &body, head.length())
            .await
    }

    /// A server's head and what came of its body. What is said before the answer is forgotten: nobody
    /// asked for it.
    async fn answer(
        &self,
        server: &mut TcpStream,
        plain: &Plain,
        target: &Target,
    ) -> Result<(answer::Head, Vec<u8>), Fault> {
        let mut head = Vec::new();
        for _ in 0..=INTERIM_MAX {
            let rest = self.heard(server, &mut head, target).await?;
            if let Some(answer) = answer::Head::parse(&head, plain.is_head, target)? {
                return Ok((answer, rest));
            }
            head = rest;
        }
        let what = "it was announced too often";
        Err(Fault::BadAnswer(target.clone(), what))
    }

    async fn send(&self, to: &mut TcpStream, bytes: &[u8]) -> Result<(), Fault> {
        if !self.budget.take(bytes.len() as u64) {
            return Err(Fault::Cut);
        }
        let sent = timeout(self.egress.times.idle, to.write_all(bytes)).await;
        sent.map_err(io::Error::from)
            .flatten()
            .map_err(|_| Fault::Cut)
    }
}
