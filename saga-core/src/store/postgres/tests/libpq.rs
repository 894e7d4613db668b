//! A URL has the same meaning as for `psql`.

use std::process::Command;

use sqlx::{ConnectOptions, Row};

use super::{PostgresOptions, skipped, url};

/// Properties of a session, as its server reports them.
const SESSION: &str = "SELECT concat_ws('|', current_user, current_database(), current_setting('application_name'), \
                       current_setting('statement_timeout'), coalesce(host(inet_server_addr()), 'socket'))";

/// The result of `psql` for `url`; `None` if it is not installed.
fn by_psql(url: &str) -> Option<Result<String, String>> {
    let run = Command::new("psql").args(["-X", "-At", "-c", SESSION, url]).env("PGAPPNAME", "none").output().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Some(if run.status.success() { Ok(text(&run.stdout)) } else { Err(text(&run.stderr)) })
}

async fn by_us(url: &str) -> Result<String, String> {
    let options = url.parse::<PostgresOptions>().map_err(|error| error.to_string())?.connect_options();
    let options = if options.get_application_name().is_none() { options.application_name("none") } else { options };
    let mut connection = options.connect().await.map_err(|error| error.to_string())?;
    let row = sqlx::query(SESSION).fetch_one(&mut connection).await.map_err(|error| error.to_string())?;
    Ok(row.get(0))
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_url_means_what_it_means_to_psql() {
    let given = url();
    let (login, place) = given.strip_prefix("postgres://").unwrap().split_once('@').expect("user:password@");
    let (user, password) = login.split_once(':').unwrap();
    let (address, rest) = place.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let database = rest.split('?').next().unwrap();
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let all = format!("host={host}&port={port}&user={user}&password={password}");
    let mut urls = vec![
        format!("postgres://{login}@{address}/{database}"),
        format!("postgresql://{login}@{address}/{database}?"),
        format!("postgres:///{database}?{all}"),
        format!("postgres://?{all}&dbname={database}"),
        format!("postgres://x:y@{address}/zzz?user={user}&password={password}&dbname={database}"),
        format!("postgres://{}:{}@{}:{port}/{}", escaped(user), escaped(password), escaped(host), escaped(database)),
        format!("postgres://{login}@{host}:/{database}?port={port}"),
        format!("postgres://{login}@{address}?dbname={database}&connect_timeout=5&keepalives_idle=30"),
        format!("postgres://{login}@{address}/{database}?application_name=a&application_name=b+c%20d e"),
        format!("postgres://{login}@{address}/{database}?%61pplication_name=q&fallback_application_name=r&"),
        format!("postgres://{login}@{address}/{database}?options=-c%20statement_timeout%3D1234"),
        format!("postgres://{login}@{address}/{database}?hostaddr={host}&sslmode=prefer&target_session_attrs=read-write"),
        // Refused by both.
        format!("postgres://{login}@{address}/{database}?options=-c+statement_timeout%3D1234"),
        format!("postgres://{user}:{password}%zz@{address}/{database}"),
        format!("postgres://{user}:{password}%00@{address}/{database}"),
        format!("postgres://{user}:a@{password}@{address}/{database}"),
        format!("postgres://{user}:a/{password}@{address}/{database}"),
        format!("postgres://{login}@{host}:99999/{database}"),
        format!("postgres://{login}@{host}:0/{database}"),
        format!("postgres://{login}@[::1/{database}"),
        format!("postgres://{login}@{address}/{database}#x"),
        format!("postgres://{login}@{address}/{database}/x"),
        format!("postgres://{login}@{address}/{database}?nope=1"),
        format!("postgres://{login}@{address}/{database}?user"),
        format!("postgres://{login}@{address}/{database}?sslmode=perhaps"),
    ];
    if let Ok(folder) = std::env::var("SAGAS_TEST_POSTGRES_SOCKET") {
        urls.push(format!("postgres:///{database}?host={folder}&port={port}&user={user}"));
        urls.push(format!("postgres://{user}@{}:{port}/{database}?sslmode=require", escaped(&folder)));
    }
    for url in urls {
        let Some(expected) = by_psql(&url) else {
            skipped("there is no psql here; install the PostgreSQL client");
            return;
        };
        let found = by_us(&url).await;
        match (&expected, &found) {
            (Ok(expected), Ok(found)) => assert_eq!(found, expected, "{url}"),
            (Err(_), Err(_)) => {}
            _ => panic!("{url}: psql: {expected:?}, here: {found:?}"),
        }
    }
}
