//! The databases, and the services that have rows in them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sagas::{
    Database,
    port::store::{SagaStore, Store},
    store::{
        StoreError,
        sqlite::{SqliteOptions, SqliteStore},
    },
};

use super::error::CliError;

/// How often the databases are opened and read again when a program opens them meanwhile.
const ATTEMPTS: usize = 5;

/// The extension of a service's database file in a folder.
const EXTENSION: &str = "sqlite";

/// Where the databases are.
pub(crate) struct Place {
    databases: Databases,
    /// The only service to read, if one is named.
    service: Option<String>,
}

enum Databases {
    /// A folder with a file for each service.
    Folder(PathBuf),
    /// One database. The URL can contain a password.
    Url(String),
}

/// A service, and the database that contains its rows.
pub(crate) struct Service {
    pub(crate) name: String,
    database: Database,
}

/// The services that were found, and the open databases.
pub(crate) struct Services {
    all: Vec<Service>,
    databases: Vec<Database>,
}

impl Place {
    /// The database at `url`, or those in the folder; only the data of `service`, if it is named.
    pub(crate) fn new(url: Option<String>, folder: impl FnOnce() -> PathBuf, service: Option<String>) -> Self {
        Self { databases: url.map_or_else(|| Databases::Folder(folder()), Databases::Url), service }
    }

    /// The URL of the database, if one is named.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.databases {
            Databases::Folder(_) => None,
            Databases::Url(url) => Some(url),
        }
    }

    /// Opens the databases, calls `what`, and closes them. Repeats this if a program has opened one of the databases meanwhile.
    ///
    /// # Errors
    /// If a database cannot be opened, or `what` fails.
    pub(crate) async fn read<T>(&self, what: impl AsyncFn(&Services) -> Result<T, CliError>) -> Result<T, CliError> {
        let mut attempts = 1;
        loop {
            let read = match self.open().await {
                Ok(services) => {
                    let read = what(&services).await;
                    services.close().await;
                    read
                }
                Err(trouble) => Err(trouble),
            };
            match read {
                Err(CliError::Disturbed(_)) if attempts < ATTEMPTS => attempts += 1,
                read => return read,
            }
        }
    }

    /// Opens the database of `service` for writing, calls `what`, and closes it.
    ///
    /// # Errors
    /// If the database cannot be opened, or `what` fails.
    pub(crate) async fn write<T>(
        &self,
        service: &str,
        what: impl AsyncFnOnce(&Service) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let mut attempts = 1;
        let services = loop {
            match self.open_for_writing(service).await {
                Err(CliError::Disturbed(_)) if attempts < ATTEMPTS => attempts += 1,
                opened => break opened?,
            }
        };
        let done = match services.all.first() {
            Some(service) => what(service).await,
            None => Err(CliError::Failed(format!("--service {service}: it keeps nothing here"))),
        };
        services.close().await;
        done
    }

    async fn open_for_writing(&self, service: &str) -> Result<Services, CliError> {
        match &self.databases {
            // Each file is opened read-only first, so that only the file of the service is written to.
            Databases::Folder(folder) => {
                for file in files_of(folder, Some(service))? {
                    let one = Self { databases: Databases::Folder(file.clone()), service: self.service.clone() };
                    let found = match SqliteStore::open_read_only(SqliteOptions::file(&file)).await {
                        Ok(store) => one.services(vec![Database::new(Arc::new(store))]).await,
                        Err(StoreError::NotMigrated(_)) => continue,
                        Err(error) => return Err(error.into()),
                    };
                    let Ok(found) = found else { continue };
                    found.close().await;
                    let store = SqliteStore::open_existing(SqliteOptions::file(&file)).await?;
                    return one.services(vec![Database::new(Arc::new(store))]).await;
                }
                // Returns the error that lists the services in the folder.
                self.open().await
            }
            Databases::Url(url) => self.services(Database::existing(url).await.map_err(CliError::opening)?).await,
        }
    }

    async fn open(&self) -> Result<Services, CliError> {
        let databases = match &self.databases {
            Databases::Folder(folder) => in_folder(folder, self.service.as_deref()).await?,
            Databases::Url(url) => Database::read_all(url).await.map_err(CliError::opening)?,
        };
        self.services(databases).await
    }

    /// Finds the services that have rows in `databases`.
    async fn services(&self, databases: Vec<Database>) -> Result<Services, CliError> {
        let place = match &self.databases {
            Databases::Folder(folder) => folder.display().to_string(),
            Databases::Url(_) => "this database".to_owned(),
        };
        let mut all = Vec::new();
        for database in &databases {
            let found = database.store().sagas().services().await?;
            all.extend(found.into_iter().map(|name| Service { name, database: database.clone() }));
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(wanted) = &self.service {
            let known = distinct(&all);
            all.retain(|service| service.name == *wanted);
            if all.is_empty() {
                return Err(CliError::Failed(match known.is_empty() {
                    true => format!("--service {wanted}: no service has kept anything in {place} yet"),
                    false => format!("--service {wanted}: it keeps nothing in {place}; there are {}", known.join(", ")),
                }));
            }
        }
        Ok(Services { all, databases })
    }
}

impl Service {
    /// The database of the service.
    pub(crate) fn store(&self) -> &dyn Store {
        &**self.database.store()
    }

    /// The part of the database that concerns sagas.
    pub(crate) fn sagas(&self) -> &dyn SagaStore {
        self.store().sagas()
    }
}

impl Services {
    /// All services, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.all.iter()
    }

    /// The services with this name: several if there are copies of a database.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Service> {
        self.all.iter().filter(move |service| service.name == name)
    }

    /// The names, as a list.
    pub(crate) fn names(&self) -> String {
        distinct(&self.all).join(", ")
    }

    async fn close(self) {
        for database in self.databases {
            database.store().close().await;
        }
    }
}

/// Opens the databases in `folder`, or only that of `service` if it has its own file. A database without the framework's tables
/// belongs to something else; it is skipped if another one has these tables.
async fn in_folder(folder: &Path, service: Option<&str>) -> Result<Vec<Database>, CliError> {
    let files = files_of(folder, service)?;
    let (mut databases, mut foreign) = (Vec::new(), Vec::new());
    for file in &files {
        match SqliteStore::open_read_only(SqliteOptions::file(file)).await {
            Ok(store) => databases.push(Database::new(Arc::new(store))),
            Err(error @ StoreError::NotMigrated(_)) => foreign.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    match foreign.into_iter().next() {
        Some(error) if databases.is_empty() => Err(error.into()),
        _ => Ok(databases),
    }
}

/// The file of `service`, or all files in `folder` if the service has no file of its own.
fn files_of(folder: &Path, service: Option<&str>) -> Result<Vec<PathBuf>, CliError> {
    let own = service.map(|service| folder.join(format!("{service}.{EXTENSION}"))).filter(|file| file.is_file());
    match own {
        Some(file) => Ok(vec![file]),
        None => files(folder),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let shown = folder.display();
    let listed = std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = listed.map_err(|error| {
        CliError::Failed(format!(
            "{shown}: the folder cannot be read ({error}); name the one with the services' databases by --data, or a database by \
             --database"
        ))
    })?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
    files.sort();
    match files.is_empty() {
        true => Err(CliError::Failed(format!(
            "{shown}: there is no <service>.{EXTENSION} in this folder; name the one with the services' databases by --data, or a \
             database by --database"
        ))),
        false => Ok(files),
    }
}

/// The names of `services`, which are sorted, each once.
fn distinct(services: &[Service]) -> Vec<String> {
    let mut names: Vec<_> = services.iter().map(|service| service.name.clone()).collect();
    names.dedup();
    names
}
