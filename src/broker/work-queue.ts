import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";

/** The declaration of a stream whose messages are jobs, each removed when it is done. */
export function workQueueStream(
  name: string,
  subjects: string[],
  replicas: number,
): Partial<StreamConfig> & { name: string } {
  return {
    name,
    subjects,
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    num_replicas: replicas,
    discard: DiscardPolicy.New,
    // A job is queued once: a second publish of it is refused while it waits.
    max_msgs_per_subject: 1,
    discard_new_per_subject: true,
    allow_direct: true,
  };
}
