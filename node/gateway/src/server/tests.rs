//! Connections that do nothing or too much.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn short() -> Patience {
    Patience {
        head_read: Duration::from_millis(60),
        connection_life: Duration::from_millis(300),
        drain: Duration::from_millis(50),
    }
}

fn endless() -> Router {
    Router::new().route(
        "/",
        axum::routing::get(async || std::future::pending::<()>().await),
    )
}

/// What comes back on a connection until it is closed.
async fn closed_after(request: &[u8], patience: Patience) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = endless();
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    tokio::select! {
        answer = client => answer,
        ended = listen(listener, &router, patience, std::future::pending::<()>()) => panic!("stopped: {ended:?}"),
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let patience = Patience {
        connection_life: Duration::from_secs(3600),
        ..short()
    };
    closed_after(b"GET / HTTP/1.1\r\nHost:", patience).await;
    closed_after(b"", patience).await;
}

#[tokio::test]
async fn a_connection_has_an_end() {
    let answer = closed_after(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", short()).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = endless();
    let patience = Patience {
        connection_life: Duration::from_secs(3600),
        ..short()
    };
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        stop.send(()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    };
    let (ended, ()) = tokio::join!(listen(listener, &router, patience, stopped), client);
    ended.unwrap();
}
