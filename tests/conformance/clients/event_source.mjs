// EventSource of browsers: events by GET.
import { EventSource } from "eventsource";

export default (url) => ({
  subscribe: (query, variables, operationName, next) =>
    new Promise((complete, reject) => {
      const parameters = new URLSearchParams({ query, operationName, variables: JSON.stringify(variables) });
      const source = new EventSource(`${url}?${parameters}`);
      source.addEventListener("next", (event) => next(JSON.parse(event.data)));
      source.addEventListener("complete", () => {
        source.close();
        complete();
      });
      source.onerror = (event) => {
        source.close();
        reject(new Error(event.message));
      };
    }),
});
