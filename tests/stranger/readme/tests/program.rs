//! The program in the README: it sells each order once, and ends successfully on SIGTERM.

#![cfg(unix)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn it_is_ready_and_stops_when_it_is_told() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut program = Command::new(env!("CARGO_BIN_EXE_readme"))
            .current_dir(folder.path())
            .env("ADDRESS", &address)
            .spawn()
            .expect("the program starts");
        let begun = Instant::now();
        while !ready(&address) {
            assert!(begun.elapsed() < PATIENCE, "it is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        let order = r#"{"order_id":"a-1","product":"tea","quantity":2}"#;
        assert!(ask(&address, "POST", "/orders", order).unwrap().starts_with("HTTP/1.1 202"));
        while !ask(&address, "GET", "/sold/tea", "").unwrap().ends_with("\r\n\r\n2") {
            assert!(begun.elapsed() < PATIENCE, "the order is not sold");
            std::thread::sleep(Duration::from_millis(20));
        }
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", program.id())).status().unwrap();
        assert!(sent.success());
        assert_eq!(program.wait().unwrap().code(), Some(0), "SIG{signal}");
    }
}

fn ready(address: &str) -> bool {
    ask(address, "GET", "/health/ready", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn ask(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
