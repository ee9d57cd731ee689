import mustreach.delivery.v1.SubscribeResponse;

/** A place in the user's order, and the epoch that it belongs to. */
record Place(long sequence, String epoch) {
  /** What to record and acknowledge for an event; null for one that has none. */
  static Place of(SubscribeResponse event) {
    return switch (event.getEventCase()) {
      case NOTIFICATION -> new Place(event.getNotification().getSequence(), event.getNotification().getEpoch());
      case MESSAGE ->
          new Place(event.getMessage().getNotification().getSequence(), event.getMessage().getNotification().getEpoch());
      case RECALL -> new Place(event.getRecall().getSequence(), event.getRecall().getEpoch());
      case SETTLED -> new Place(event.getSettled().getSequence(), event.getSettled().getEpoch());
      case GAP -> new Place(event.getGap().getTo(), event.getGap().getEpoch());
      default -> null;
    };
  }
}
