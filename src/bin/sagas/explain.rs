//! `sagas explain`: everything about one instance.

mod missing;
mod operations;
mod show;
mod step;
mod story;

use std::collections::BTreeSet;

use sagas::{saga::InstanceKey, time::Clock};

use self::story::Story;
use super::{
    args::Explain,
    definitions::Definitions,
    error::CliError,
    letters::{self, Letter},
    output::Output,
    places::{Place, Service, Services},
    tracked::{self, Tracked},
    words::one_line,
};

/// Shows everything that is known about an instance.
///
/// # Errors
/// If there is no such instance, or more than one, or the databases cannot be read.
pub(crate) async fn explain(place: &Place, wanted: &Explain, output: &Output) -> Result<bool, CliError> {
    let clock = Clock::system();
    let story = place
        .read(async |services| {
            let definitions = Definitions::of(services).await?;
            let tracked = find(services, &definitions, wanted).await?;
            Story::of(services, &definitions, &tracked, clock.now()).await
        })
        .await?;
    output.give(&story);
    output.say(show::text(&story, output.has_colours()));
    Ok(true)
}

/// Finds the one instance with this key.
async fn find(services: &Services, definitions: &Definitions, wanted: &Explain) -> Result<Tracked, CliError> {
    let (mut found, mut sagas) = (Vec::new(), BTreeSet::new());
    for service in services.iter() {
        let here = names(service, definitions, wanted).await?;
        for saga in &here {
            let key = InstanceKey { saga: saga.clone(), id: wanted.id.clone() };
            found.extend(tracked::one(service, &key).await?);
        }
        sagas.extend(here);
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(CliError::Failed(unknown(services, &sagas, wanted).await?)),
        [first, others @ ..] if others.iter().any(|other| other.instance.key.saga != first.instance.key.saga) => {
            let names: BTreeSet<_> = found.iter().map(|tracked| tracked.instance.key.saga.as_str()).collect();
            let names = Vec::from_iter(names).join(", ");
            Err(CliError::Failed(format!("several sagas have an instance `{}`: {names}; name one by --saga", wanted.id)))
        }
        several => {
            let names: BTreeSet<_> = several.iter().map(|tracked| tracked.service.as_str()).collect();
            let names = Vec::from_iter(names).join(", ");
            Err(CliError::Failed(format!(
                "`{}` is kept in several databases, of {names}: name one by --service, or its file by --database sqlite:PATH",
                wanted.id
            )))
        }
    }
}

/// The sagas of which `service` can have an instance.
async fn names(service: &Service, definitions: &Definitions, wanted: &Explain) -> Result<BTreeSet<String>, CliError> {
    if let Some(saga) = &wanted.saga {
        return Ok(BTreeSet::from([saga.clone()]));
    }
    let open = service.sagas().open_versions(&service.name).await?;
    let tracked = definitions.tracked_by(&service.name).into_iter().map(str::to_owned);
    Ok(tracked.chain(open.into_iter().map(|open| open.saga)).collect())
}

/// The error for an instance that no service tracks here. A message outside sagas can have the key, too.
async fn unknown(services: &Services, sagas: &BTreeSet<String>, wanted: &Explain) -> Result<String, CliError> {
    let (mut steps, mut letters) = (Vec::new(), Vec::new());
    for service in services.iter() {
        letters.extend(letters::open_of_key(service, &wanted.id).await?);
        for saga in sagas {
            let key = InstanceKey { saga: saga.clone(), id: wanted.id.clone() };
            let here = service.sagas().steps(&service.name, &key).await?;
            steps.extend(here.iter().map(|step| format!("{} ({} at {})", step.step, step.state.as_str(), service.name)));
        }
    }
    let of = wanted.saga.as_ref().map(|saga| format!(" of {saga}")).unwrap_or_default();
    let id = &wanted.id;
    let kept = letters.iter().max_by_key(|letter| letter.at).map(|newest| given_up(&letters, newest)).unwrap_or_default();
    Ok(match (services.names(), steps.is_empty()) {
        (names, _) if names.is_empty() => {
            format!("there is no instance `{id}`{of}: no service has kept anything here yet")
        }
        (names, true) => format!(
            "there is no instance `{id}`{of} in what these services keep: {names}; `sagas ps --all` lists those there are{kept}"
        ),
        (_, false) => format!(
            "no service here tracks an instance `{id}`{of}, and participants did steps of it: {}; read the database of the service \
             that tracks it, too{kept}",
            steps.join(", ")
        ),
    })
}

/// The part of an error that points to the open dead letters of the key.
fn given_up(letters: &[Letter], newest: &Letter) -> String {
    let Letter { service, id, event, key, error, .. } = newest;
    let (are, newest) = match letters.len() {
        1 => ("a dead letter of this key is open".to_owned(), "it is"),
        several => (format!("{several} dead letters of this key are open"), "the newest is"),
    };
    let (event, key) = (event.as_deref().unwrap_or("a record"), key.as_deref().unwrap_or_default());
    one_line(&format!("; {are}, see `sagas letters list --key {key}`; {newest} {id}, {event} at {service}: {error}"))
}
