//! Members of a group that are not processes of the service: no handler runs for the records of their partitions.
//!
//! A process is recognized by its `client.id`. If it is not configured, every member with another `client.id` is foreign. If it
//! is configured, the processes may have been given different ones, so a foreign member is only a warning.

use saga_core::transport::Condition;

use crate::{
    KafkaConfig,
    group::{Group, GroupMember},
    settings::CLIENT_ID,
};

/// Returns a condition for each foreign member of `group` that has partitions.
pub(crate) fn conditions(config: &KafkaConfig, name: &str, group: &Group) -> Vec<Condition> {
    let given = config.client.get("client.id");
    let own = given.map_or(CLIENT_ID, String::as_str);
    let foreign = group.members.iter().filter(|member| member.client != own && !member.partitions.is_empty());
    foreign.map(|member| condition(member, name, given.is_none())).collect()
}

fn condition(member: &GroupMember, group: &str, critical: bool) -> Condition {
    let GroupMember { client, host, partitions, .. } = member;
    let partitions: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    let detail = format!(
        "the group `{group}` has a member that is no instance of this service: client `{client}` at {host} has {}, and their records \
         are not handled here; stop it, or give it another group (an instance is known by its `client.id`, which has to be the same \
         for all)",
        partitions.join(", ")
    );
    Condition { name: "foreign_member", subject: client.clone(), critical, detail }
}
