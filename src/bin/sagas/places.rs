//! Where the databases are, and the services whose rows lie in them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sagas::{
    Database,
    store::{
        SagaStore, Store, StoreError,
        sqlite::{SqliteOptions, SqliteStore},
    },
};

use super::trouble::Trouble;

/// How often the databases are read again when programs open them meanwhile.
const ATTEMPTS: usize = 5;

/// How a database of a service is called in a folder.
const EXTENSION: &str = "sqlite";

/// Where the databases are.
pub(crate) struct Place {
    databases: Databases,
    /// The only service that is wanted.
    service: Option<String>,
}

enum Databases {
    /// A file for each service.
    Folder(PathBuf),
    /// One database. There may be a password in it.
    Url(String),
}

/// A service, and the database in which its rows are.
pub(crate) struct Service {
    pub(crate) name: String,
    database: Database,
}

/// The services that were found, open for reading.
pub(crate) struct Services {
    all: Vec<Service>,
    databases: Vec<Database>,
}

impl Place {
    /// The database at `url`, or else those in the folder; only what `service` keeps, if it is named.
    pub(crate) fn new(url: Option<String>, folder: impl FnOnce() -> PathBuf, service: Option<String>) -> Self {
        Self { databases: url.map_or_else(|| Databases::Folder(folder()), Databases::Url), service }
    }

    /// Opens the databases, has `what` read from them, and closes them; again if a program has opened one of them meanwhile.
    ///
    /// # Errors
    /// When a database cannot be opened, or `what` fails.
    pub(crate) async fn read<T>(&self, what: impl AsyncFn(&Services) -> Result<T, Trouble>) -> Result<T, Trouble> {
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
                Err(Trouble::Disturbed(_)) if attempts < ATTEMPTS => attempts += 1,
                read => return read,
            }
        }
    }

    /// Opens the database of `service` for writing, and has `what` done with it.
    ///
    /// # Errors
    /// When it cannot be opened, or `what` fails.
    pub(crate) async fn write<T>(
        &self,
        service: &str,
        what: impl AsyncFnOnce(&Service) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut attempts = 1;
        let services = loop {
            match self.open_for_writing(service).await {
                Err(Trouble::Disturbed(_)) if attempts < ATTEMPTS => attempts += 1,
                opened => break opened?,
            }
        };
        let done = match services.all.first() {
            Some(service) => what(service).await,
            None => Err(Trouble::Failed(format!("--service {service}: it keeps nothing here"))),
        };
        services.close().await;
        done
    }

    async fn open_for_writing(&self, service: &str) -> Result<Services, Trouble> {
        match &self.databases {
            // Which file it is shows without writing to any.
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
                // Says who is there.
                self.open().await
            }
            Databases::Url(url) => self.services(Database::existing(url).await.map_err(Trouble::opening)?).await,
        }
    }

    async fn open(&self) -> Result<Services, Trouble> {
        let databases = match &self.databases {
            Databases::Folder(folder) => in_folder(folder, self.service.as_deref()).await?,
            Databases::Url(url) => Database::read_all(url).await.map_err(Trouble::opening)?,
        };
        self.services(databases).await
    }

    /// The services whose rows lie in `databases`.
    async fn services(&self, databases: Vec<Database>) -> Result<Services, Trouble> {
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
            let known: Vec<_> = all.iter().map(|service| service.name.clone()).collect();
            all.retain(|service| service.name == *wanted);
            if all.is_empty() {
                return Err(Trouble::Failed(match known.is_empty() {
                    true => format!("--service {wanted}: no service has kept anything in {place} yet"),
                    false => format!("--service {wanted}: it keeps nothing in {place}; there are {}", known.join(", ")),
                }));
            }
        }
        Ok(Services { all, databases })
    }
}

impl Service {
    /// Its database.
    pub(crate) fn store(&self) -> &dyn Store {
        &**self.database.store()
    }

    /// What it keeps of sagas.
    pub(crate) fn sagas(&self) -> &dyn SagaStore {
        self.store().sagas()
    }
}

impl Services {
    /// All of them, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.all.iter()
    }

    /// Those called `name`: one, or more if there is a copy of a database.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Service> {
        self.all.iter().filter(move |service| service.name == name)
    }

    /// Their names, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|service| service.name.as_str()).collect();
        names.join(", ")
    }

    async fn close(self) {
        for database in self.databases {
            database.store().close().await;
        }
    }
}

/// The databases in `folder`, or that of `service` alone if it has a file of its own. A database with none of the framework's tables
/// is somebody else's, and passed over beside one that has them.
async fn in_folder(folder: &Path, service: Option<&str>) -> Result<Vec<Database>, Trouble> {
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

/// The file of `service`, or, where it has none of its own, all in `folder`.
fn files_of(folder: &Path, service: Option<&str>) -> Result<Vec<PathBuf>, Trouble> {
    let own = service.map(|service| folder.join(format!("{service}.{EXTENSION}"))).filter(|file| file.is_file());
    match own {
        Some(file) => Ok(vec![file]),
        None => files(folder),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let shown = folder.display();
    let listed = std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = listed.map_err(|error| {
        Trouble::Failed(format!(
            "{shown}: the folder cannot be read ({error}); name the one with the services' databases by --data, or a database by \
             --database"
        ))
    })?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
    files.sort();
    match files.is_empty() {
        true => Err(Trouble::Failed(format!(
            "{shown}: there is no <service>.{EXTENSION} in this folder; name the one with the services' databases by --data, or a \
             database by --database"
        ))),
        false => Ok(files),
    }
}
