//! A wire between two nodes that can be cut without either being told.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Forwards everything until cut; then it takes what comes and is silent.
pub(super) struct Relay {
    pub(super) address: String,
    cut: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// In front of a node's address, which is on loopback.
    pub(super) async fn before(address: &str) -> Self {
        let port: u16 = address
            .split('/')
            .nth(4)
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let peer = address.rsplit('/').next().expect("a peer");
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let cut = CancellationToken::new();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        if address.contains("/tcp/") {
            let listener = TcpListener::bind(anywhere).await.expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            Self {
                address: format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"),
                task: tokio::spawn(tcp(listener, target, cut.clone())),
                cut,
            }
        } else {
            let socket = UdpSocket::bind(anywhere).await.expect("a free port");
            let port = socket.local_addr().expect("it is bound").port();
            Self {
                address: format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{peer}"),
                task: tokio::spawn(udp(socket, target, cut.clone())),
                cut,
            }
        }
    }

    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

async fn tcp(listener: TcpListener, target: SocketAddr, cut: CancellationToken) {
    let (near, _) = listener.accept().await.expect("someone connects");
    let far = TcpStream::connect(target).await.expect("the node listens");
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(
        pump(near_in, far_out, cut.clone()),
        pump(far_in, near_out, cut)
    );
}

async fn pump(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    cut: CancellationToken,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            () = cut.cancelled() => break,
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    let _ = to.write_all(&buffer[..read]).await;
                }
            },
        }
    }
    // Both sockets stay open: nobody is told.
    std::future::pending::<()>().await;
}

async fn udp(socket: UdpSocket, target: SocketAddr, cut: CancellationToken) {
    let mut buffer = vec![0; 64 * 1024];
    let mut client = None;
    loop {
        tokio::select! {
            () = cut.cancelled() => break,
            received = socket.recv_from(&mut buffer) => {
                let Ok((read, from)) = received else { continue };
                if from == target {
                    if let Some(client) = client {
                        let _ = socket.send_to(&buffer[..read], client).await;
                    }
                } else {
                    client = Some(from);
                    let _ = socket.send_to(&buffer[..read], target).await;
                }
            }
        }
    }
    std::future::pending::<()>().await;
}
