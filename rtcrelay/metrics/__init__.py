"""Numbers for Prometheus, and the health of a process, over HTTP.

A service has its metrics served with three lines once its sockets are bound::

    pages = Pages(condition, [ProcessMetrics("transceiver", lambda: keys), TransceiverMetrics(transceiver)])
    pages.add_to(admin_application)
    await start_http(pages.application(), metrics_socket)

``condition`` says whether the process is well and ready (`pages.Condition`). A source (`pages.MetricsSource`) makes
its metric families anew for each scrape, with the functions of `families`, from integers that it or others count
anyway: nothing of this package is called for a packet. What has a distribution keeps a `families.Histogram`.

``prometheus_client`` takes 50 ms to import and aiohttp 200, so import these modules when nothing waits for it.
"""
