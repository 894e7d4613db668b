//! `sagas ps`: the instances, as a list.

use sagas::{
    store::InstanceQuery,
    time::{Clock, Timestamp},
};

use super::{
    args::Ps,
    flows::Flows,
    output::{Output, complain, note},
    places::{Place, Services},
    rows::Row,
    table::Table,
    tracked::{self, Tracked},
    trouble::Trouble,
    words::counted,
};

/// What is listed.
struct Listing {
    now: Timestamp,
    rows: Vec<Row>,
    /// How many there are in all.
    total: u64,
}

/// Lists instances, once or until somebody stops it.
///
/// # Errors
/// When the databases cannot be read.
pub(crate) async fn ps(place: &Place, wanted: &Ps, output: &Output) -> Result<bool, Trouble> {
    let clock = Clock::system();
    if !wanted.watch {
        list(place, wanted, &clock).await?.show(wanted, output);
        return Ok(true);
    }
    let shown = watch(place, wanted, output, &clock);
    tokio::select! {
        ended = shown => ended,
        // Without a handler the process is ended by the signal, which is as well.
        _ = tokio::signal::ctrl_c() => Ok(true),
    }
}

/// Lists again and again. What fails at first is an error; what fails later may be well at the next look.
async fn watch(place: &Place, wanted: &Ps, output: &Output, clock: &Clock) -> Result<bool, Trouble> {
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

async fn list(place: &Place, wanted: &Ps, clock: &Clock) -> Result<Listing, Trouble> {
    place
        .read(async |services| {
            let now = clock.now();
            let flows = Flows::of(services).await?;
            let (found, total) = match wanted.stuck {
                true => stuck(services, wanted, now).await?,
                false => newest(services, wanted).await?,
            };
            let row = |tracked: &Tracked| {
                let key = &tracked.instance.key;
                Row::of(tracked, flows.chart(&tracked.service, &key.saga, tracked.instance.version), now)
            };
            Ok(Listing { now, rows: found.iter().map(row).collect(), total })
        })
        .await
}

async fn newest(services: &Services, wanted: &Ps) -> Result<(Vec<Tracked>, u64), Trouble> {
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

async fn stuck(services: &Services, wanted: &Ps, now: Timestamp) -> Result<(Vec<Tracked>, u64), Trouble> {
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

/// Why it is among those that are stuck.
fn why(row: &Row) -> &'static str {
    match (row.view.attention.is_some(), row.overdue) {
        (true, true) => "attention, overdue",
        (true, false) => "attention",
        (false, _) => "overdue",
    }
}
