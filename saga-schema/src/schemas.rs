//! The schemas that a program knows.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use saga_core::{
    failure::Fault,
    message::{Event, NotYet},
    time::doubling,
};
use tokio::{sync::Notify, time::Instant};

use crate::{HasSchema, OwnedSchema, RegistryError, Schema, SchemaId, SchemaRegistry};

/// The time that a message waits for its schema before the next attempt, and the first wait before a failed request to the registry is
/// repeated.
const WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a failed request to the registry is repeated.
const LONGEST: Duration = Duration::from_secs(30);
/// How long the answer that a schema is missing or rejected is kept. It may have been registered or allowed since.
const EXPIRES: Duration = Duration::from_secs(30);
/// The maximum number of ids of other producers' schemas that are kept, because a record can contain any id.
const MOST: usize = 10_000;

/// Provides the [`Schemas`] of a program to its codecs. Implement it for a type of your own.
pub trait Registered: 'static {
    /// Returns the schemas.
    fn schemas() -> &'static Schemas;

    /// Returns the subject of an event in the registry: `topic-name`, because the events of a topic have several schemas. Confluent's
    /// default is `topic-value`.
    fn subject(topic: &str, name: &str) -> String {
        format!("{topic}-{name}")
    }
}

/// The schemas that a program knows: its own, with their ids, and those of other producers.
#[derive(Debug, Default)]
pub struct Schemas {
    own: RwLock<BTreeMap<&'static str, Arc<Known>>>,
    others: RwLock<Option<HashMap<SchemaId, Other>>>,
    wanted: Mutex<BTreeMap<SchemaId, Wanted>>,
    asked: Notify,
}

/// A schema with its id.
#[derive(Debug)]
pub struct Known {
    /// The id.
    pub id: SchemaId,
    /// The schema.
    pub schema: OwnedSchema,
    parsed: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Known {
    fn new(id: SchemaId, schema: OwnedSchema) -> Arc<Self> {
        Arc::new(Self { id, schema, parsed: OnceLock::new() })
    }

    /// Returns the schema as parsed by `parse`, which is only called the first time.
    ///
    /// # Errors
    /// Returns an error if `parse` fails.
    pub fn parsed<P: Any + Send + Sync>(&self, parse: impl FnOnce(&OwnedSchema) -> Result<P, Fault>) -> Result<&P, Fault> {
        if self.parsed.get().is_none() {
            let parsed = Box::new(parse(&self.schema)?);
            // Another thread may have been faster; both have parsed the same schema.
            drop(self.parsed.set(parsed));
        }
        let parsed = self.parsed.get().and_then(|parsed| parsed.downcast_ref());
        parsed.ok_or_else(|| Fault::new(format!("schema {} is used as two kinds of schema", self.id)))
    }
}

/// What is known about an id.
#[derive(Debug, Clone)]
enum Other {
    Known(Arc<Known>),
    /// The registry does not have the schema or rejects the request. Kept until `until`.
    None {
        why: String,
        until: Instant,
    },
}

/// An id whose schema is to be requested from the registry.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// The time of the next request.
    at: Instant,
    /// The number of requests that failed.
    failures: u32,
}

impl Other {
    /// A missing schema, from now on.
    fn none(why: String) -> Self {
        Self::None { why, until: Instant::now() + EXPIRES }
    }
}

impl Schemas {
    /// Creates an empty set of schemas.
    pub const fn new() -> Self {
        Self {
            own: RwLock::new(BTreeMap::new()),
            others: RwLock::new(None),
            wanted: Mutex::new(BTreeMap::new()),
            asked: Notify::const_new(),
        }
    }

    /// Registers the schema of `E`, so that events of this type can be published. A schema that is new to the registry is added to it.
    ///
    /// # Errors
    /// Returns an error if the registry rejects the schema or cannot be reached.
    pub async fn register<E: Event + HasSchema, R: Registered>(
        &self,
        registry: &dyn SchemaRegistry,
    ) -> Result<SchemaId, RegistryError> {
        let id = registry.register(&R::subject(E::TOPIC, E::NAME), E::SCHEMA).await?;
        self.know(E::SCHEMA, id);
        Ok(id)
    }

    /// Looks up the schema of `E`, which is registered already, for example by a pipeline.
    ///
    /// # Errors
    /// Returns an error if the schema is not registered or the registry cannot be reached.
    pub async fn look_up<E: Event + HasSchema, R: Registered>(
        &self,
        registry: &dyn SchemaRegistry,
    ) -> Result<SchemaId, RegistryError> {
        let id = registry.look_up(&R::subject(E::TOPIC, E::NAME), E::SCHEMA).await?;
        self.know(E::SCHEMA, id);
        Ok(id)
    }

    fn know(&self, schema: Schema, id: SchemaId) {
        let owned = OwnedSchema { kind: schema.kind.as_str().to_owned(), text: schema.text.to_owned() };
        self.own.write().unwrap_or_else(PoisonError::into_inner).insert(schema.text, Known::new(id, owned));
    }

    /// Fetches the schemas of other producers from `registry`, as records refer to them. Runs forever, as a job of the service. Each schema
    /// is requested separately, so that one that fails does not delay the others.
    pub async fn follow(&self, registry: Arc<dyn SchemaRegistry>) {
        loop {
            let next = self.wanted().iter().map(|(id, wanted)| (wanted.at, *id)).min();
            let Some((at, id)) = next else {
                self.asked.notified().await;
                continue;
            };
            if at > Instant::now() {
                // Wait until then, or until another schema is wanted.
                let _ = tokio::time::timeout_at(at, self.asked.notified()).await;
                continue;
            }
            let answer = match registry.schema(id).await {
                Ok(schema) => Other::Known(Known::new(id, schema)),
                Err(RegistryError::Missing(_)) => Other::none(format!("the schema registry has no schema {id}")),
                Err(error @ RegistryError::Refused(_)) => {
                    tracing::warn!(schema = id, %error, "the registry refuses a schema; records that are written by it are not read");
                    Other::none(error.to_string())
                }
                Err(error) => {
                    tracing::warn!(schema = id, %error, "a schema cannot be fetched now; records that are written by it wait");
                    if let Some(wanted) = self.wanted().get_mut(&id) {
                        wanted.at = Instant::now() + doubling(WAIT, LONGEST, wanted.failures);
                        wanted.failures = wanted.failures.saturating_add(1);
                    }
                    continue;
                }
            };
            let mut others = self.others_mut();
            let known = others.get_or_insert_default();
            if known.len() >= MOST {
                known.retain(|_, other| matches!(other, Other::Known(_)));
            }
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(id, answer);
            drop(others);
            self.wanted().remove(&id);
        }
    }

    /// Returns the program's own `schema`, with which `event` is written.
    ///
    /// # Errors
    /// Returns an error if the schema was not registered or looked up.
    pub fn own(&self, schema: Schema, event: &str) -> Result<Arc<Known>, Fault> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.get(schema.text).cloned().ok_or_else(|| {
            Fault::new(format!(
                "the schema of `{event}` has no id: call `Schemas::register` or `Schemas::look_up` for it before the app starts"
            ))
        })
    }

    /// Returns the schema with this id.
    ///
    /// # Errors
    /// Returns [`NotYet`] until the registry has answered. Returns another error if the registry does not have the schema or rejects the
    /// request. That error is kept for half a minute, and then the schema is requested again.
    pub fn schema(&self, id: SchemaId) -> Result<Arc<Known>, Fault> {
        match self.others().as_ref().and_then(|known| known.get(&id)) {
            Some(Other::Known(schema)) => return Ok(schema.clone()),
            Some(Other::None { why, until }) if Instant::now() < *until => return Err(Fault::new(why.clone())),
            Some(Other::None { .. }) | None => {}
        }
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = own.values().find(|known| known.id == id) {
            return Ok(known.clone());
        }
        drop(own);
        let mut wanted = self.wanted();
        if wanted.len() < MOST {
            wanted.entry(id).or_insert_with(|| Wanted { at: Instant::now(), failures: 0 });
        }
        self.asked.notify_one();
        Err(NotYet::new(
            WAIT,
            format!("schema {id} is not known yet, and is requested from the registry (is `Schemas::follow` a job?)"),
        )
        .into())
    }

    fn others(&self) -> RwLockReadGuard<'_, Option<HashMap<SchemaId, Other>>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_mut(&self) -> RwLockWriteGuard<'_, Option<HashMap<SchemaId, Other>>> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<SchemaId, Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    type Answer = Result<OwnedSchema, RegistryError>;

    /// A registry with given answers that records the requests.
    #[derive(Default)]
    struct Told {
        answers: Mutex<HashMap<SchemaId, Answer>>,
        asked: Mutex<Vec<SchemaId>>,
    }

    #[async_trait]
    impl SchemaRegistry for Told {
        async fn register(&self, subject: &str, _: Schema) -> Result<SchemaId, RegistryError> {
            Err(RegistryError::Refused(subject.to_owned()))
        }

        async fn look_up(&self, subject: &str, _: Schema) -> Result<SchemaId, RegistryError> {
            Err(RegistryError::Missing(subject.to_owned()))
        }

        async fn schema(&self, id: SchemaId) -> Answer {
            self.asked.lock().expect("is whole").push(id);
            let answer = self.answers.lock().expect("is whole").get(&id).cloned();
            answer.unwrap_or_else(|| Err(RegistryError::Missing(format!("schema {id}"))))
        }
    }

    impl Told {
        fn tell(&self, id: SchemaId, answer: Answer) {
            self.answers.lock().expect("is whole").insert(id, answer);
        }

        fn times(&self, id: SchemaId) -> usize {
            self.asked.lock().expect("is whole").iter().filter(|asked| **asked == id).count()
        }
    }

    fn int() -> OwnedSchema {
        OwnedSchema { kind: "AVRO".to_owned(), text: r#""int""#.to_owned() }
    }

    /// Runs the job for this long.
    async fn follow(schemas: &Schemas, registry: &Arc<Told>, time: Duration) {
        let ended = tokio::time::timeout(time, schemas.follow(registry.clone())).await;
        assert!(ended.is_err(), "it is a job for ever");
    }

    fn waits(schemas: &Schemas, id: SchemaId) -> bool {
        schemas.schema(id).is_err_and(|fault| fault.error().is::<NotYet>())
    }

    /// Returns the error of a schema that is missing for good, so that no message waits for it.
    fn none(schemas: &Schemas, id: SchemaId) -> String {
        let fault = schemas.schema(id).expect_err("is not known");
        assert!(!fault.error().is::<NotYet>(), "{fault}");
        fault.to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_without_an_answer_keeps_no_other_back() {
        let (schemas, registry) = (Schemas::new(), Arc::new(Told::default()));
        registry.tell(1, Err(RegistryError::Unavailable("500".to_owned())));
        registry.tell(2, Err(RegistryError::Refused("403".to_owned())));
        registry.tell(3, Ok(int()));
        for id in 1..=3 {
            assert!(waits(&schemas, id));
        }
        follow(&schemas, &registry, Duration::from_millis(500)).await;
        assert!(waits(&schemas, 1));
        assert_eq!(none(&schemas, 2), "the schema registry refuses: 403");
        assert_eq!(schemas.schema(3).expect("is known").schema, int());
        // The first is requested again after one, two and four seconds.
        follow(&schemas, &registry, Duration::from_millis(9500)).await;
        assert_eq!((registry.times(1), registry.times(2), registry.times(3)), (4, 1, 1));
        // A schema that is wanted meanwhile is requested at once.
        registry.tell(4, Ok(int()));
        assert!(waits(&schemas, 4));
        follow(&schemas, &registry, Duration::from_millis(100)).await;
        assert_eq!(schemas.schema(4).expect("is known").id, 4);
        registry.tell(1, Ok(int()));
        follow(&schemas, &registry, LONGEST).await;
        assert_eq!(schemas.schema(1).expect("is known").id, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_wanted_wakes_the_job() {
        let (schemas, registry) = (Arc::new(Schemas::new()), Arc::new(Told::default()));
        registry.tell(1, Err(RegistryError::Unavailable("away".to_owned())));
        registry.tell(2, Ok(int()));
        assert!(waits(&schemas, 1));
        let job = tokio::spawn({
            let (schemas, registry) = (schemas.clone(), registry.clone());
            async move { schemas.follow(registry).await }
        });
        tokio::time::sleep(Duration::from_millis(3500)).await;
        // The other is not requested again before the seventh second.
        assert!(waits(&schemas, 2));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(schemas.schema(2).is_ok());
        job.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_none_is_forgotten() {
        let (schemas, registry) = (Schemas::new(), Arc::new(Told::default()));
        registry.tell(6, Err(RegistryError::Refused("403".to_owned())));
        assert!(waits(&schemas, 5) && waits(&schemas, 6));
        follow(&schemas, &registry, Duration::from_secs(1)).await;
        assert_eq!(none(&schemas, 5), "the schema registry has no schema 5");
        assert_eq!(none(&schemas, 6), "the schema registry refuses: 403");
        registry.tell(5, Ok(int()));
        registry.tell(6, Ok(int()));
        tokio::time::advance(EXPIRES - Duration::from_secs(2)).await;
        none(&schemas, 5);
        none(&schemas, 6);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(waits(&schemas, 5) && waits(&schemas, 6));
        follow(&schemas, &registry, Duration::from_secs(1)).await;
        assert!(schemas.schema(5).is_ok() && schemas.schema(6).is_ok());
        assert_eq!((registry.times(5), registry.times(6)), (2, 2));
    }
}
