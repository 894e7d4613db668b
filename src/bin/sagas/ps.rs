//! `sagas ps`: lists instances.

use sagas::{
    saga::InstanceQuery,
    time::{Clock, Timestamp},
};

use super::{
    args::Ps,
    definitions::Definitions,
    error::CliError,
    output::{Output, complain, note},
    places::{Place, Services},
    rows::Row,
    table::Table,
    tracked::{self, Tracked},
    words::counted,
};

/// The listed instances.
struct Listing {
    now: Timestamp,
    rows: Vec<Row>,
    /// The number of all instances that match.
    total: u64,
}

/// Lists instances, once or repeatedly until it is interrupted.
///
/// # Errors
/// If the databases cannot be read.
pub(crate) async fn ps(place: &Place, wanted: &Ps, output: &Output) -> Result<bool, CliError> {
    let clock = Clock::system();
    if !wanted.watch {
        list(place, wanted, &clock).await?.show(wanted, output);
        return Ok(true);
    }
    let shown = watch(place, wanted, output, &clock);
    tokio::select! {
        ended = shown => ended,
        // If no handler can be installed, the signal ends the process, which has the same effect.
        _ = tokio::signal::ctrl_c() => Ok(true),
    }
}

/// Lists repeatedly. The first failure ends it only if nothing was listed before; later failures may be transient and are only
/// printed.
async fn watch(place: &Place, wanted: &Ps, output: &Output, clock: &Clock) -> Result<bool, CliError> {
    let mut first = true;
    while !output.is_gone() {
        match list(place, wanted, clock).await {
            Ok(listing) => {
                output.again(first);
                listing.show(wanted, output);
            }
            Err(trouble) if first => return Err(trouble),
            Err(trouble) => complain(&trouble),
        }
        first = false;
        clock.sleep(wanted.every).await;
    }
    Ok(true)
}

async fn list(place: &Place, wanted: &Ps, clock: &Clock) -> Result<Listing, CliError> {
    place
        .read(async |services| {
            let now = clock.now();
            let definitions = Definitions::of(services).await?;
            let (found, total) = match wanted.stuck {
                true => stuck(services, wanted, now).await?,
                false => newest(services, wanted).await?,
            };
            let row = |tracked: &Tracked| {
                let key = &tracked.instance.key;
                Row::of(tracked, definitions.chart(&tracked.service, &key.saga, tracked.instance.version), now)
            };
            Ok(Listing { now, rows: found.iter().map(row).collect(), total })
        })
        .await
}

async fn newest(services: &Services, wanted: &Ps) -> Result<(Vec<Tracked>, u64), CliError> {
    let query = InstanceQuery {
        saga: wanted.saga.clone(),
        state: wanted.state,
        open: !wanted.all,
        limit: wanted.limit,
        ..InstanceQuery::default()
    };
    let (mut found, mut total) = (Vec::new(), 0);
    for service in services.iter() {
        let (mut page, here) = tracked::page(service, &query).await?;
        found.append(&mut page);
        total += here;
    }
    found.sort_by(|one, other| {
        let (one, other) = (&one.instance, &other.instance);
        other.started_at.cmp(&one.started_at).then_with(|| one.key.cmp(&other.key))
    });
    found.truncate(wanted.limit as usize);
    Ok((found, total))
}

async fn stuck(services: &Services, wanted: &Ps, now: Timestamp) -> Result<(Vec<Tracked>, u64), CliError> {
    let mut found = tracked::stuck(services, now).await?;
    found.retain(|tracked| {
        let instance = &tracked.instance;
        wanted.saga.as_ref().is_none_or(|saga| *saga == instance.key.saga)
            && wanted.state.is_none_or(|state| state == instance.state)
    });
    let total = found.len() as u64;
    found.truncate(wanted.limit as usize);
    Ok((found, total))
}

impl Listing {
    fn show(&self, wanted: &Ps, output: &Output) {
        for row in &self.rows {
            output.give(row);
        }
        let mut headings = Row::HEADINGS.to_vec();
        if wanted.stuck {
            headings.insert(0, "STUCK");
        }
        let mut table = Table::new(&headings);
        for row in &self.rows {
            let mut cells = row.cells(self.now);
            if wanted.stuck {
                cells.insert(0, why(row).into());
            }
            table.row(cells);
        }
        match (self.rows.is_empty(), wanted.stuck, wanted.all) {
            (false, ..) => output.say(table.show(output.has_colours())),
            (true, true, _) => output.say("Nothing is stuck."),
            (true, false, true) => output.say("There are no such instances."),
            (true, false, false) => output.say("No such instance is open; --all lists those that have ended, too."),
        }
        let more = self.total.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            let more = format!("and {}: raise --limit to see more", counted(more, "more", "more"));
            match output.is_json() {
                true => note(more),
                false => output.say(more),
            }
        }
    }
}

/// Why the instance is stuck.
fn why(row: &Row) -> &'static str {
    match (row.view.attention.is_some(), row.overdue) {
        (true, true) => "attention, overdue",
        (true, false) => "attention",
        (false, _) => "overdue",
    }
}
