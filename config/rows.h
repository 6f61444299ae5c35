/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How rows of the schema are written, and what they take from one another: the tables of
 * schema_*.c. Only those include it. Constant data; any thread.
 */
#ifndef WEIR_CONFIG_ROWS_H
#define WEIR_CONFIG_ROWS_H

#include "config/schema.h"
#include "config/types.h"
#include "proxy/base/check.h"

/* The offset of a field; does not compile if its type is not `type`. */
#define FIELD(tag, field, type) \
    (offsetof(struct tag, field) + 0 * sizeof(_Generic(((struct tag *)0)->field, type : 'x')))

#define SCALAR(name, tag, field, ctype, kind) \
    .key = name, .shape = SHAPE_SCALAR, .type = &(kind), .offset = FIELD(tag, field, ctype)

#define INT(key, tag, field)      SCALAR(key, tag, field, uint32_t, type_int)
#define DURATION(key, tag, field) SCALAR(key, tag, field, uint64_t, type_duration)
#define SIZE(key, tag, field)     SCALAR(key, tag, field, uint64_t, type_size)
#define BOOL(key, tag, field)     SCALAR(key, tag, field, bool, type_bool)
#define STRING(key, tag, field)   SCALAR(key, tag, field, const char *, type_string)
#define CHOICE(key, tag, field)   SCALAR(key, tag, field, const char *, type_choice)
#define FILENAME(key, tag, field) SCALAR(key, tag, field, struct config_str, type_file)
#define ADDRESS(key, tag, field)  SCALAR(key, tag, field, struct config_addr, type_address)

#define MS       UINT64_C(1)
#define SECOND   (1000 * MS)
#define HOUR     (3600 * SECOND)
#define MAX_TIME (365 * 24 * HOUR)
#define KIB      (UINT64_C(1) << 10)
#define MIB      (UINT64_C(1) << 20)
#define PIB      (UINT64_C(1) << 50)

#define NAME_PATTERN "^[A-Za-z0-9_.-]{1,64}$"

#define ROWS(list) .rows = (list), .row_count = ARRAY_LEN(list)

extern const struct schema_table schema_access_log;    /* struct config_access_log */
extern const struct schema_table schema_dns;           /* struct config_dns */
extern const struct schema_table schema_endpoint;      /* struct config_endpoint */
extern const struct schema_table schema_kubernetes;    /* struct config_kubernetes */
extern const struct schema_items schema_endpoints;     /* struct config_endpoint */
extern const struct schema_table schema_etcd;          /* struct config_etcd */
extern const struct schema_table schema_admin;         /* struct config_admin */
extern const struct schema_table schema_admin_tls;     /* struct config_tls_server */
extern const struct schema_table schema_balance;       /* struct config_balance */
extern const struct schema_table schema_health;        /* struct config_health */
extern const struct schema_table schema_flight;        /* struct config_flight */
extern const struct schema_row schema_field_name;      /* struct config_header_match */
extern const struct schema_row schema_field_value;     /* struct config_header_match */
extern const struct schema_items schema_fields;        /* of a request that weir itself sends */
extern const struct schema_table schema_key;           /* struct config_key */
extern const struct schema_table schema_limit;         /* struct config_limit */
extern const struct schema_items schema_listeners;     /* struct config_listener */
extern const struct schema_table schema_outlier;       /* struct config_outlier */
extern const struct schema_items schema_pools;         /* struct config_pool */
extern const struct schema_table schema_queue;         /* struct config_queue */
extern const struct schema_table schema_retry;         /* struct config_retry */
extern const struct schema_table schema_retry_budget;  /* struct config_retry_budget */
extern const struct schema_table schema_tracing;       /* struct config_tracing */
extern const struct schema_table schema_sticky;        /* struct config_sticky */
extern const struct schema_table schema_tls_client;    /* struct config_tls_client */
extern const struct schema_table schema_pool_registry; /* struct config_registry */
extern const struct schema_row schema_registered;      /* struct config_registration */
extern const struct schema_row schema_registration;    /* the same, but for its id */
extern const struct schema_table schema_registry;      /* of struct config */

/* The endpoints are in no more zones than weir keeps apart. schema_pool.c */
void schema_check_zones(struct bind *b, const struct config_endpoint *endpoints, size_t count);

/* The pool's queue, if it has a limit and no queue. schema_limits.c */
void schema_give_queue(struct config_pool *pool);

/* What limits, queue and the rest of a pool have to do with one another; gives a pool with a limit
 * its queue. schema_limits.c */
void schema_check_limits(struct bind *b, struct config_pool *pool);

#endif
