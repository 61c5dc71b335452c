//! Which runtime a program is: asked once, with a bound on its time and its words.

use std::{
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Dialect;
use crate::limits::{RUNTIME_ANSWER_MS, RUNTIME_VERSION_MAX};

/// The first line of what the program says about itself.
pub(super) fn ask(program: &Path) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let said = listen(&mut child);
    // Whatever it still does is of no use.
    let _ = child.kill();
    let _ = child.wait();
    let said = said?;
    let line = said.lines().next().unwrap_or_default().trim().to_owned();
    // As all of them do: their name, this word, and the number.
    if line.split_whitespace().nth(1) != Some("version") || line.chars().any(char::is_control) {
        let said: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(format!(
            "it said {said:?}, and a runtime says NAME version NUMBER"
        ));
    }
    Ok(line)
}

fn listen(child: &mut Child) -> Result<String, String> {
    let mut pipe = child.stdout.take().ok_or("it has no output")?;
    let end = Instant::now() + Duration::from_millis(RUNTIME_ANSWER_MS);
    let mut said = Vec::new();
    while said.len() < RUNTIME_VERSION_MAX && !said.contains(&b'\n') {
        let left = end.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(format!("it did not answer within {RUNTIME_ANSWER_MS} ms")),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.to_string()),
            Ok(_) => {}
        }
        let mut piece = [0; 256];
        match pipe.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// How it is to be called.
pub(super) fn dialect(version: &str) -> Dialect {
    if version.split_whitespace().next() == Some("crun") {
        Dialect::Crun
    } else {
        Dialect::Runc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_tells_how_a_runtime_is_called() {
        assert_eq!(dialect("crun version 1.8.1"), Dialect::Crun);
        assert_eq!(dialect("runc version 1.1.5+ds1"), Dialect::Runc);
        assert_eq!(dialect("youki version 0.3.3"), Dialect::Runc);
    }

    #[test]
    fn a_program_that_says_nothing_is_no_runtime() {
        let refused = ask(Path::new("/bin/true")).unwrap_err();
        assert!(
            refused.contains("a runtime says NAME version NUMBER"),
            "{refused}"
        );
        assert!(ask(Path::new("/no/such/program")).is_err());
    }
}
