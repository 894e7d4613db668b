//! A reader of server-sent events.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

/// How long a reader waits for an expected event.
const PATIENCE: Duration = Duration::from_secs(45);
/// The timeout of a connection. It is long, because the wait for each event limits a test.
const CONNECTION: Duration = Duration::from_secs(600);

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerEvent {
    /// The event's name.
    pub name: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its data.
    pub data: Value,
}

impl ServerEvent {
    /// Returns a field of the data as text.
    ///
    /// # Panics
    /// Panics when it is not text.
    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_else(|| panic!("no text `{field}`: {self:?}"))
    }

    /// Returns the position at the end of the id.
    ///
    /// # Panics
    /// Panics without an id, or when it does not end with a position.
    pub fn position(&self) -> i64 {
        let id = self.id.as_deref().unwrap_or_else(|| panic!("no id: {self:?}"));
        id.rsplit_once('-').and_then(|(_, position)| position.parse().ok()).unwrap_or_else(|| panic!("no position: {id}"))
    }
}

/// A connection to a stream of server-sent events.
pub struct EventStream {
    /// The status and headers of the answer.
    pub response: Response,
    received: Vec<u8>,
    /// The comments received so far.
    pub comments: Vec<String>,
    /// The last reconnection time that the server sent, in milliseconds.
    pub retry: Option<u64>,
    /// The id of the last event that had one.
    pub last_id: Option<String>,
}

impl EventStream {
    /// Sends `request` and opens the stream.
    ///
    /// # Panics
    /// Panics when the answer is not a stream.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.timeout(CONNECTION).send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        if response.status() != 200 {
            panic!("{}: {:?}", response.status(), response.text().await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, received: Vec::new(), comments: Vec::new(), retry: None, last_id: None }
    }

    /// Returns the next event; `None` when the connection has ended.
    ///
    /// # Panics
    /// Panics when no event arrives for 45 seconds.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(block) = self.take_block() {
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
            if !self.receive(deadline).await {
                return None;
            }
        }
    }

    /// Returns the next event with this name, and skips those before it.
    ///
    /// # Panics
    /// Panics when none arrives.
    pub async fn next_of(&mut self, name: &str) -> ServerEvent {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream has ended before a {name} came"));
            if event.name == name {
                return event;
            }
        }
    }

    /// Returns the next `count` events `order`, and skips others.
    ///
    /// # Panics
    /// Panics when they do not arrive.
    pub async fn orders(&mut self, count: usize) -> Vec<ServerEvent> {
        let mut orders = Vec::new();
        while orders.len() < count {
            orders.push(self.next_of("order").await);
        }
        orders
    }

    /// Reads until there is a comment.
    ///
    /// # Panics
    /// Panics when none arrives.
    pub async fn comment(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while self.comments.is_empty() {
            while let Some(block) = self.take_block() {
                self.read(&block);
            }
            assert!(!self.comments.is_empty() || self.receive(deadline).await, "the stream has ended without a comment");
        }
        self.comments.remove(0)
    }

    async fn receive(&mut self, deadline: Instant) -> bool {
        let chunk = timeout_at(deadline, self.response.chunk()).await;
        match chunk.unwrap_or_else(|_| panic!("it did not come for {PATIENCE:?}; the last id is {:?}", self.last_id)) {
            Ok(Some(chunk)) => {
                self.received.extend_from_slice(&chunk);
                true
            }
            // The stream has ended, or the connection was interrupted.
            Ok(None) | Err(_) => false,
        }
    }

    /// Returns the text before the next empty line.
    fn take_block(&mut self) -> Option<String> {
        let end = self.received.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.received.drain(..end + 2).collect();
        Some(String::from_utf8(block).unwrap())
    }

    fn read(&mut self, block: &str) -> Option<ServerEvent> {
        let (mut name, mut id, mut data) = (None, None, None);
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => self.comments.push(value),
                "event" => name = Some(value),
                "id" => id = Some(value),
                "data" => assert_eq!(data.replace(value), None, "one line of data: {block}"),
                "retry" => self.retry = Some(value.parse().unwrap()),
                other => panic!("an unknown field {other}: {block}"),
            }
        }
        let data = serde_json::from_str(&data?).unwrap_or_else(|error| panic!("no JSON ({error}): {block}"));
        if id.is_some() {
            self.last_id.clone_from(&id);
        }
        Some(ServerEvent { name: name.expect("every event has a name"), id, data })
    }
}
