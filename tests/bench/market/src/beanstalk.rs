//! The central queue of Debian: one server, one client, and each job reserved and deleted before the
//! next. Nothing is signed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Failure, sample};

/// A server that goes with this process.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // What is left to say of a server that is gone already?
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start() -> Result<(Server, TcpStream), Failure> {
    // Whatever port is free: the server does not say which one it would have chosen.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Command::new("beanstalkd")
        .args(["-l", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .spawn()?;
    let server = Server(server);
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok((server, stream));
            }
            Err(error) if begun.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The line that the server answers.
fn line(reader: &mut BufReader<TcpStream>) -> Result<String, Failure> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

pub(crate) fn run(jobs: usize) -> Result<(), Failure> {
    let (_server, mut stream) = start()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    // As large as what our award carries of an action.
    let body = "12345678";
    for _ in 0..jobs {
        write!(stream, "put 1 0 60 {}\r\n{body}\r\n", body.len())?;
        let answer = line(&mut reader)?;
        if !answer.starts_with("INSERTED") {
            return Err(format!("put: {answer}").into());
        }
    }
    let begun = Instant::now();
    let mut data = vec![0; body.len() + 2];
    for _ in 0..jobs {
        stream.write_all(b"reserve\r\n")?;
        let answer = line(&mut reader)?;
        let id = answer.split(' ').nth(1).ok_or("reserve: no id")?.to_owned();
        reader.read_exact(&mut data)?;
        stream.write_all(format!("delete {id}\r\n").as_bytes())?;
        let answer = line(&mut reader)?;
        if answer != "DELETED" {
            return Err(format!("delete: {answer}").into());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    sample("assign_vs_beanstalkd", "theirs", jobs as f64 / seconds);
    Ok(())
}
