use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use every_feature::*;
use sagas::{prelude::*, testing::Pump, transport::memory::Memory};
use serde_json::Value;

#[tokio::test]
async fn what_is_published_is_what_was_asked_for() {
    let pump = Pump::of([payment(Database::open("sqlite::memory:").await.unwrap())]).start().await;
    let all = [(u64::MAX, 0.1 + 0.2, i64::MAX), (1, 1e300, 0)];
    for (order_id, amount, cents) in all {
        pump.publish(&PaymentAsked { order_id, amount, cents }).await;
    }
    pump.run_until_quiet().await;
    let mut taken = pump.published::<PaymentTaken>().await;
    taken.sort_by_key(|taken| std::cmp::Reverse(taken.order_id));
    assert_eq!(taken, all.map(|(order_id, amount, cents)| PaymentTaken { order_id, amount, cents }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_answer() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let database = Database::open("sqlite::memory:").await.unwrap();
    let log = Arc::new(Memory::new());
    let handle = App::new("shop").service(payment(database).listen(listener)).start(log).await.unwrap();
    let address = handle.address("payment").unwrap();

    assert_eq!(get(address, "/hello").await, "hello");
    let described: Value = serde_json::from_str(&get(address, "/openapi.json").await).unwrap();
    assert_eq!(described["openapi"], "3.1.0");

    let mut work = handle.service("payment").unwrap().begin().await.unwrap();
    work.publish(&PaymentAsked { order_id: 7, amount: 0.5, cents: -1 }).unwrap();
    work.commit().await.unwrap();
    let letters = async {
        loop {
            let health: Value = serde_json::from_str(&get(address, "/health").await).unwrap();
            let letters: Value = serde_json::from_str(&get(address, "/dead-letters").await).unwrap();
            if letters.to_string().contains("less than nothing") {
                assert_eq!(health["status"], "UP", "{health}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), letters).await.expect("the message is a dead letter");
    assert!(handle.stop().await);
}

async fn get(address: SocketAddr, path: &'static str) -> String {
    let ask = move || {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    // The body is in one piece, or in chunks with their lengths.
    match head.contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_owned(),
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    whole
}
