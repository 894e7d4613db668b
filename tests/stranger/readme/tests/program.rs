//! The program, as a container runs it: it is healthy, and SIGTERM ends it well.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn it_is_ready_and_stops_when_it_is_told() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_readme"))
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let url = lines.next().expect("it says where it listens").unwrap();
        let begun = Instant::now();
        while !ready(url.strip_prefix("http://").unwrap()) {
            assert!(begun.elapsed() < PATIENCE, "it is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", program.id())).status().unwrap();
        assert!(sent.success());
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        let status = program.wait().unwrap();
        assert_eq!((status.code(), rest), (Some(0), vec!["in time: true".to_owned()]), "SIG{signal}");
    }
}

fn ready(address: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
