//! Behind PgBouncer: it works in session mode, and is refused with the remedy in the other modes.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sqlx_core::Url;

use super::{super::connect::Connector, NOTES, PATIENCE, PostgresOptions, PostgresStore, Schema, note, skipped, url};
use crate::store::{Sharing, Store, StoreError};

/// A PgBouncer in front of the server of the tests.
struct Pooler {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Pooler {
    /// `None` if it is not installed.
    async fn start(mode: &str) -> Option<Self> {
        let found = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];
        let Some(program) = found.into_iter().find(|program| Path::new(program).exists()) else {
            skipped("there is no PgBouncer here; scripts/pgbouncer installs it");
            return None;
        };
        let server = Url::parse(&url()).unwrap();
        let (host, at) = (server.host_str().unwrap(), server.port().unwrap_or(5432));
        let (user, password) = (server.username(), server.password().unwrap_or_default());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let database = server.path().trim_start_matches('/');
        let settings = format!(
            "[databases]\n{database} = host={host} port={at} dbname={database} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        );
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(program);
        command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // PgBouncer does not run as root.
        if fs::metadata("/proc/self").is_ok_and(|of_us| std::os::unix::fs::MetadataExt::uid(&of_us) == 0) {
            command.args(["-u", "nobody"]);
        }
        let process = command.spawn().unwrap();
        let pooler = Self { process, port, folder };
        let answers = async {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("PgBouncer answers");
        Some(pooler)
    }

    /// Changes the mode in which it assigns sessions.
    fn set_mode(&self, from: &str, to: &str) {
        let file = self.folder.path().join("pgbouncer.ini");
        let settings = fs::read_to_string(&file).unwrap();
        fs::write(&file, settings.replace(&format!("pool_mode = {from}"), &format!("pool_mode = {to}"))).unwrap();
        let told = Command::new("kill").arg("-HUP").arg(self.process.id().to_string()).status().unwrap();
        assert!(told.success());
    }

    fn options(&self, schema: &Schema, query: &str) -> PostgresOptions {
        let mut through = Url::parse(&url()).unwrap();
        through.set_host(Some("127.0.0.1")).unwrap();
        through.set_port(Some(self.port)).unwrap();
        through.set_query(Some(query));
        through.as_str().parse::<PostgresOptions>().unwrap().schema(&schema.0).unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn in_session_mode_a_pooler_is_as_good_as_the_server() {
    let Some(pooler) = Pooler::start("session").await else { return };
    let schema = Schema::new();
    let store = PostgresStore::open(pooler.options(&schema, "pool=7")).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate_set("notes", NOTES).await.unwrap();
    for text in ["a", "b"] {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, text).await.unwrap();
        tx.commit().await.unwrap();
    }
    store.check().await.unwrap();
    assert_eq!(store.advice().await.unwrap(), []);
    assert!(store.listen("orders").await.is_ok(), "it listens");
    assert_eq!(schema.notes().await, ["a", "b"]);
    store.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_pooler_that_does_not_keep_sessions_apart_is_refused_with_the_fix() {
    for mode in ["transaction", "statement"] {
        let Some(pooler) = Pooler::start(mode).await else { return };
        let error = PostgresStore::open(pooler.options(&Schema::new(), "")).await.expect_err(mode);
        assert!(matches!(&error, StoreError::Refused(reason) if reason.contains("`pool_mode = session`")), "{mode}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_startup_parameter_that_a_pooler_does_not_take_is_named() {
    let Some(pooler) = Pooler::start("session").await else { return };
    let options = pooler.options(&Schema::new(), "options=-c%20statement_timeout%3D1000");
    let error = PostgresStore::open(options).await.expect_err("refused");
    let fix = matches!(&error, StoreError::Refused(reason) if reason.contains("ignore_startup_parameters"));
    assert!(fix && error.to_string().contains("options"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_pooler_that_ceases_to_keep_sessions_apart_is_told_and_is_no_fault_of_a_message() {
    let Some(pooler) = Pooler::start("session").await else { return };
    let schema = Schema::new();
    let options = pooler.options(&schema, "pool=7").begin_timeout(Duration::from_millis(500));
    let options = options.answer_timeout(Duration::from_secs(1));
    let store = PostgresStore::open(options).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate_set("notes", NOTES).await.unwrap();
    assert_eq!(store.advice().await.unwrap(), []);
    pooler.set_mode("session", "transaction");
    // Open sessions keep their mode until their connections are closed.
    schema.terminate().await;
    let told = async {
        loop {
            if let Ok([advice]) = store.advice().await.as_deref() {
                return advice.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let advice = tokio::time::timeout(PATIENCE, told).await.expect("the advice arrives");
    assert_eq!((advice.condition, advice.subject.as_str(), advice.critical), ("database_settings", "pooler", true));
    assert!(advice.detail.contains("`pool_mode = session`"), "{advice:?}");
    let mut refused = 0;
    for round in 0..20 {
        let (mut one, mut other) = match (store.begin().await, store.begin().await) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => {
                refused += 1;
                for error in [one.err(), other.err()].into_iter().flatten() {
                    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                }
                continue;
            }
        };
        for (tx, text) in [(&mut one, format!("{round}, one")), (&mut other, format!("{round}, other"))] {
            // Responses may reach another client than the one that sent the statement, so the wait is limited.
            match tokio::time::timeout(Duration::from_millis(500), note(&mut **tx, &text)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    refused += 1;
                    let fault = crate::failure::Fault::from(error);
                    assert!(crate::store::is_unavailable(fault.error()), "{fault}");
                }
                Err(_) => refused += 1,
            }
        }
        drop((one, other));
    }
    assert!(refused > 0, "nothing was shown");
    // Transactions whose end was lost still hold locks on the schema's rows. They end with the pooler.
    drop(pooler);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_connection_that_a_pooler_refuses_while_a_service_runs_is_no_fault_of_a_message() {
    let Some(pooler) = Pooler::start("session").await else { return };
    let options = pooler.options(&Schema::new(), "options=-c%20statement_timeout%3D1000");
    let store = PostgresStore::on(Arc::new(Connector::new(options.begin_timeout(Duration::from_millis(500)))));
    let error = store.begin().await.err().expect("refused");
    let fix = matches!(&error, StoreError::Unavailable(reason) if reason.contains("ignore_startup_parameters"));
    assert!(fix, "{error}");
}
