# weir: build, run, test, install. `make help` lists the targets.
#
# MODE=release|debug|asan|tsan|fuzz picks the variant; release builds into build/, the others into
# build/<mode>/. CC, CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS are yours: they come after our own.
# Warnings are errors only when CI is set.

VERSION := 0.1.0

CC      ?= cc
BUILD   ?= build
MODE    ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
PYTHON  ?= /usr/bin/python3
LLHTTP  ?= -lllhttp

MODES := release debug asan tsan fuzz
ifeq ($(filter $(MODE),$(MODES)),)
$(error MODE is '$(MODE)', expected one of: $(MODES))
endif
OUT := $(BUILD)$(if $(filter release,$(MODE)),,/$(MODE))

# ---- flags -----------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith \
        -Wwrite-strings -Wundef
ifneq ($(filter-out 0 no false,$(CI)),)
WARN += -Werror
endif

SANITIZED     := -O1 -g -DWEIR_DEBUG -fno-omit-frame-pointer
FLAGS_release := -O2 -g -fno-plt -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
FLAGS_debug   := -O0 -g3 -DWEIR_DEBUG
FLAGS_asan    := $(SANITIZED) -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan    := $(SANITIZED) -fsanitize=thread
FLAGS_fuzz    := $(SANITIZED) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_CC       ?= clang
ifeq ($(MODE),fuzz)
CC := $(FUZZ_CC)
endif
LD_release    := -Wl,-z,relro,-z,now

# llhttp is named outright: not every distribution's package has a .pc file for it.
PKGS     := libuv yaml-0.1 libnghttp2 openssl libcares jansson
PKG_INC  := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) $(LLHTTP)

W_CPPFLAGS := -I. -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' $(PKG_INC)
W_CFLAGS   := -std=gnu11 $(WARN) $(FLAGS_$(MODE)) -fno-common
W_LIBS     := $(PKG_LIBS) -lpthread -lm

COMPILE = $(CC) $(W_CPPFLAGS) $(CPPFLAGS) $(W_CFLAGS) $(CFLAGS)
# Every program is offered every library, and is linked with those that it uses.
LINK    = $(CC) $(W_CFLAGS) $(CFLAGS) -Wl,--as-needed $(LD_$(MODE)) $(LDFLAGS)
LIBS    = $(W_LIBS) $(LDLIBS)

# ---- sources: a new .c file in these folders is picked up by itself ----------------------------

WEIR_SRC    := $(wildcard proxy/base/*.c proxy/watch/*.c proxy/net/*.c proxy/http/*.c \
                          proxy/upstream/*.c proxy/discovery/*.c proxy/trace/*.c \
                          proxy/metrics/*.c proxy/*.c \
                          balancer/*.c config/*.c)
BACKEND_SRC := $(wildcard backends/*.c)
BENCH_SRC   := $(wildcard bench/*.c)
LOAD_SRC    := $(wildcard bench/load_*.c)
MICRO_SRC   := $(wildcard bench/micro/*.c)
SIM_SRC     := $(wildcard bench/sim/*.c) bench/load_hist.c
TEST_SRC    := $(wildcard tests/unit/*.c)
UNIT_SRC    := $(filter tests/unit/test_%,$(TEST_SRC))
FUZZ_SRC    := $(wildcard tests/fuzz/*.c)
FAULTS_SRC  := $(wildcard tests/faults/*.c)
FUZZ_MAIN   := $(filter tests/fuzz/fuzz_%,$(FUZZ_SRC))

objects      = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
WEIR_MAIN   := $(call objects,proxy/main.c)
LIB_OBJ     := $(filter-out $(WEIR_MAIN),$(call objects,$(WEIR_SRC)))
BACKEND_LIB := $(call objects,$(filter-out backends/hello.c backends/world.c,$(BACKEND_SRC)))
UNIT_LIB    := $(call objects,$(filter-out $(UNIT_SRC),$(TEST_SRC)))
UNIT_BIN    := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/%)
LOAD_LIB    := $(call objects,$(LOAD_SRC))
FLOOR_SRC   := bench/floor_setup.c
URING_SRC   := $(wildcard bench/floor_uring.c)
HAS_URING   := $(shell pkg-config --exists 'liburing >= 2.3' 2>/dev/null && echo yes)
BENCH_BIN   := $(patsubst bench/%.c,$(OUT)/%,$(filter-out $(LOAD_SRC) $(FLOOR_SRC) \
                              $(URING_SRC),$(BENCH_SRC)))
URING_BIN   := $(if $(URING_SRC),$(OUT)/floor-uring)
MICRO_BIN   := $(MICRO_SRC:bench/micro/%.c=$(OUT)/micro-%)
SIM_LIB     := $(filter-out %/main.o,$(call objects,$(SIM_SRC)))
FUZZ_LIB    := $(call objects,$(filter-out $(FUZZ_MAIN) %/replay.c %/property.c,$(FUZZ_SRC)) \
                              tests/unit/h1_feed.c)
FUZZERS     := $(FUZZ_MAIN:tests/fuzz/%.c=$(OUT)/%)
REPLAYS     := $(FUZZ_MAIN:tests/fuzz/fuzz_%.c=$(OUT)/tests/replay_%)
PROPERTY    := $(OUT)/tests/property
ALL_SRC     := $(WEIR_SRC) $(BACKEND_SRC) $(TEST_SRC) $(FUZZ_SRC) $(MICRO_SRC) \
               $(filter bench/sim/%,$(SIM_SRC)) \
               $(filter-out $(if $(HAS_URING),,$(URING_SRC)),$(BENCH_SRC))
PROGRAMS    := $(OUT)/weir $(OUT)/hello $(OUT)/world

.PHONY: all
all: $(PROGRAMS) ## build/weir, build/hello and build/world (the default)

# ---- what forces a rebuild ---------------------------------------------------------------------

# $(call keep,TEXT): a recipe that rewrites its target only when TEXT is new, so that whatever
# depends on the target is remade exactly when TEXT changed. Two makes at once don't disturb one
# another.
keep = @mkdir -p $(@D); new=$@.$$$$; \
       printf '%s\n' '$(subst ','\'',$(1))' >$$new; \
       if cmp -s $$new $@; then rm -f $$new; else mv -f $$new $@; fi

.PHONY: FORCE
FORCE:

# The compiler, its version and every flag.
$(OUT)/flags: FORCE
	$(call keep,$(shell $(CC) --version 2>/dev/null | head -n 1) | $(COMPILE) | $(LINK) | $(LIBS))

# The members of the archive: a deleted source must leave it.
$(OUT)/members: FORCE
	$(call keep,$(LIB_OBJ) | $(BACKEND_LIB) | $(UNIT_LIB) | $(LOAD_LIB) | $(SIM_LIB) | $(FUZZ_LIB))

# Compiles and links a few lines against every library, so that a missing one is named at once.
$(OUT)/libraries: scripts/check-libs.sh $(OUT)/flags
	@scripts/check-libs.sh $(COMPILE) $(LDFLAGS) -- $(LIBS)
	@touch $@

# ---- rules -------------------------------------------------------------------------------------

$(OUT)/obj/%.o: %.c $(OUT)/flags | $(OUT)/libraries
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

# Built into the program as they are.
$(OUT)/obj/proxy/admin_assets.o: dashboard/index.html docs/openapi.json

$(OUT)/libweir.a: $(LIB_OBJ) $(OUT)/members
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$(OUT)/weir: $(WEIR_MAIN) $(OUT)/libweir.a
	$(LINK) -o $@ $^ $(LIBS)

# The backends link nothing of weir, so that a fault can't hide in both ends of a test.
$(OUT)/hello $(OUT)/world: $(OUT)/%: $(OUT)/obj/backends/%.o $(BACKEND_LIB) $(OUT)/members
	$(LINK) -o $@ $(filter %.o,$^) $(LIBS)

# A unit test is one program. It links the whole of weir but main, and the helpers beside it.
$(UNIT_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/unit/%.o $(UNIT_LIB) $(OUT)/libweir.a $(OUT)/members
	@mkdir -p $(@D)
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lcmocka

# bench/load.c and bench/load_*.c are one program; the two floors share how they begin.
$(OUT)/load: $(LOAD_LIB)
$(OUT)/floor: $(call objects,$(FLOOR_SRC))
$(OUT)/tests/test_load: $(call objects,$(addprefix bench/load_,answer.c hist.c schedule.c))
$(OUT)/tests/test_sim: $(SIM_LIB)
$(OUT)/weir-sim: $(call objects,$(SIM_SRC)) $(OUT)/libweir.a $(OUT)/members
	$(LINK) -o $@ $(filter %.o %.a,$^) $(LIBS)
$(BENCH_BIN): $(OUT)/%: $(OUT)/obj/bench/%.o $(OUT)/libweir.a $(OUT)/members
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# Counts what is allocated while it measures.
WRAP_MALLOC := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(MICRO_BIN): $(OUT)/micro-%: $(OUT)/obj/bench/micro/%.o $(OUT)/libweir.a $(OUT)/members
	$(LINK) $(WRAP_MALLOC) -o $@ $(filter %.o %.a,$^) $(LIBS)
# Needs liburing, which nothing else does: without it there is no such program.
ifeq ($(HAS_URING),yes)
$(URING_BIN): $(call objects,$(URING_SRC) $(FLOOR_SRC))
	$(LINK) -o $@ $^ $(LIBS) -luring
else
$(URING_BIN): FORCE
	@rm -f $@; echo 'bench: no liburing 2.3 or newer: $@ is not built ("make deps-bench" installs it)'
endif
# A fuzz target is a libFuzzer program (MODE=fuzz), or runs files given to it (any other). What
# judges is not what is to be covered.
ifeq ($(MODE),fuzz)
$(call objects,$(FUZZ_SRC)): W_CFLAGS += -fno-sanitize=fuzzer-no-link
endif
$(FUZZERS): $(OUT)/fuzz_%: $(OUT)/obj/tests/fuzz/fuzz_%.o $(FUZZ_LIB) $(OUT)/libweir.a $(OUT)/members
	$(LINK) -fsanitize=fuzzer -o $@ $(filter %.o %.a,$^) $(LIBS)

$(REPLAYS): $(OUT)/tests/replay_%: $(OUT)/obj/tests/fuzz/fuzz_%.o $(OUT)/obj/tests/fuzz/replay.o \
            $(FUZZ_LIB) $(OUT)/libweir.a $(OUT)/members
	@mkdir -p $(@D)
	$(LINK) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(PROPERTY): $(OUT)/obj/tests/fuzz/property.o $(FUZZ_LIB) $(OUT)/libweir.a $(OUT)/members
	@mkdir -p $(@D)
	$(LINK) -o $@ $(filter %.o %.a,$^) $(LIBS)


# Makes the network and the memory of a program fail: built in one way for every MODE.
FAULTS_SO := $(BUILD)/tests/faults.so
$(FAULTS_SO): $(FAULTS_SRC) $(wildcard tests/faults/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) -I. -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -g -fno-builtin -fPIC -shared -o $@ \
	    $(filter %.c,$^) -ldl -lgcc_s

.SECONDARY:
-include $(patsubst %.o,%.d,$(call objects,$(ALL_SRC)))

# ---- variants ----------------------------------------------------------------------------------

.PHONY: release debug asan tsan
release debug asan tsan: ## the same in build/debug, build/asan (and UBSan), build/tsan
	@$(MAKE) --no-print-directory MODE=$@ all

.PHONY: tests fuzz-tests fuzzers bench-tools faults
faults: $(FAULTS_SO) ## the preload that injects faults
tests: $(UNIT_BIN) # the unit test programs, not run
bench-tools: $(BENCH_BIN) $(URING_BIN) $(MICRO_BIN) $(OUT)/weir-sim ## the floors, the load generator, the simulator and picks
fuzz-tests: $(REPLAYS) $(PROPERTY) # the fuzz targets as programs that run files, and the property
fuzzers: $(FUZZERS) # with MODE=fuzz

# ---- dependencies, run, test -------------------------------------------------------------------

.PHONY: deps deps-test deps-lint deps-bench deps-image
deps: ## install what building needs (apt; as root or through sudo)
	@scripts/deps.sh build
deps-test: ## ... and what `make test` needs
	@scripts/deps.sh build test
deps-lint: ## ... and what `make lint` and `make format` need
	@scripts/deps.sh build lint
deps-image: ## what `make image` needs
	@scripts/deps.sh image
deps-bench: ## ... and what bench/ compares weir with; their daemons are not started
	@scripts/deps.sh build bench

.PHONY: run
run: ## install what is missing, build, and serve on port 8000 until Ctrl-C
	@scripts/deps.sh build
	@$(MAKE) --no-print-directory all
	@BIN=$(OUT) exec scripts/run.sh

BENCH_ARGS = $(if $(QUICK),--quick) $(if $(REFERENCE),--reference) $(if $(ONLY),--only '$(ONLY)') \
             $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
             $(if $(CONNECTIONS),--connections $(CONNECTIONS)) \
             $(foreach s,$(SCENARIO),'$(s)') $(T)

.PHONY: bench
bench: ## what weir costs beside its rivals; QUICK=1, SCENARIO=keepalive, ONLY=weir,nginx, ROUNDS=9, REFERENCE=1
	@scripts/deps.sh build bench
	@$(MAKE) --no-print-directory all bench-tools >&2
	@BUILD=$(OUT) exec $(PYTHON) bench/run.py $(BENCH_ARGS)

.PHONY: micro
micro: ## what a pick of each policy costs; T=p2c
	@scripts/deps.sh build && $(MAKE) --no-print-directory $(MICRO_BIN) >&2
	@for bin in $(MICRO_BIN); do $$bin $(T) || exit; done

.PHONY: sim
sim: ## which policy to choose, simulated for 10 to 10,000 endpoints; T='slow keys --sizes 10,100'
	@scripts/deps.sh build && $(MAKE) --no-print-directory $(OUT)/weir-sim >&2
	@SIM=$(OUT)/weir-sim exec $(PYTHON) bench/sim.py $(if $(REFERENCE),--reference) $(T)

.PHONY: test
test: ## install what is missing, build every variant, run every test
	@scripts/deps.sh build test || { echo '0 passed, 1 failed'; exit 1; }
	@BUILD=$(BUILD) exec $(PYTHON) scripts/test.py

# What the targets below begin with: a fresh machine is made fit for them.
READY = @scripts/deps.sh build test && $(MAKE) --no-print-directory

.PHONY: budget budget-update
budget: ## fail if a request costs more calls, instructions or bytes than bench/budget.yaml allows
	$(READY) all $(MICRO_BIN)
	@WEIR=$(OUT)/weir exec $(PYTHON) bench/budget.py $(T)
budget-update: ## accept what it costs now: write that into bench/budget.yaml
	$(READY) all $(MICRO_BIN)
	@WEIR=$(OUT)/weir exec $(PYTHON) bench/budget.py --update $(T)

.PHONY: unit e2e
unit: ## the unit tests of one MODE; T='span list' picks some
	@BUILD=$(BUILD) exec $(PYTHON) scripts/test.py --modes $(MODE) --only unit $(T)
e2e: ## the end-to-end tests of one MODE; T='-k name' goes to pytest
	@BUILD=$(BUILD) exec $(PYTHON) scripts/test.py --modes $(MODE) --only e2e -- $(T)

# ---- torture: chaos, slow clients, soak, TLS, fuzzing, faults -----------------------------------

.PHONY: chaos slowloris soak
chaos: ## load while backends fail, every request accounted for; SECONDS=60 SEED=1
	$(READY) all
	@WEIR=$(OUT)/weir HELLO=$(OUT)/hello exec $(PYTHON) tests/chaos/chaos.py \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))
slowloris: ## what 10,000 slow clients do to the latency of the others; ROUNDS=7
	$(READY) all bench-tools
	@WEIR=$(OUT)/weir HELLO=$(OUT)/hello LOAD=$(OUT)/load exec $(PYTHON) \
	    tests/chaos/slowloris.py $(if $(ROUNDS),--rounds $(ROUNDS))
soak: ## load of all kinds, flat memory and open files; MINUTES=10 HTTP2=1 MODE=asan SEED=1
	$(READY) all bench-tools
	@WEIR=$(OUT)/weir HELLO=$(OUT)/hello LOAD=$(OUT)/load exec $(PYTHON) tests/chaos/soak.py \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(HTTP2),--http2)

.PHONY: testssl
testssl: ## what testssl.sh finds in weir's TLS as it is by default; T='--json FILE'
	@scripts/deps.sh build test testssl && $(MAKE) --no-print-directory all
	@WEIR=$(OUT)/weir HELLO=$(OUT)/hello exec $(PYTHON) tests/tls/testssl.py $(T)

.PHONY: test-k8s
test-k8s: ## discovery against a real API server of Kubernetes, which it builds first (10 minutes)
	$(READY) all && { scripts/deps.sh kube || true; } # what is missing is told by why it is skipped
	@why=$$(scripts/kube-apiserver.sh --why); [ -n "$$why" ] || scripts/kube-apiserver.sh
	@WEIR=$(OUT)/weir exec $(PYTHON) -m pytest tests/k8s_api -rs $(T)

.PHONY: fuzz property
fuzz: SECONDS ?= 60
property: SEEDS ?= 100000
fuzz: ## fuzz every target for SECONDS=60 (clang); T='conn h1' picks some
	@scripts/deps.sh build test
	@BUILD=$(BUILD) exec $(PYTHON) tests/fuzz/run.py --seconds $(SECONDS) $(T)
property: ## random lives of connections, SEEDS=100000 of them
	@scripts/deps.sh build && $(MAKE) --no-print-directory fuzz-tests
	@$(PROPERTY) --seeds $(SEEDS)
.PHONY: torture torture-faults torture-storm torture-sweep
torture torture-faults torture-storm: SEEDS ?= 1 2 3 4
torture: torture-sweep torture-storm torture-faults ## the next three, with SEEDS='1 2 3 4'
torture-faults: ## e2e under faults that any program must bear: MODE=asan SEEDS='7 8' T='-k name'
	@scripts/deps.sh build test
	@BUILD=$(BUILD) exec $(PYTHON) scripts/test.py --modes $(MODE) --only faults \
	    --seeds '$(SEEDS)' -- $(T)
torture-storm: ## resets, and accepts and connects that fail: what must hold then
	@scripts/deps.sh build test
	@BUILD=$(BUILD) WEIR_SEEDS='$(SEEDS)' exec $(PYTHON) scripts/test.py --modes $(MODE) \
	    --only e2e -- tests/e2e/test_faults.py $(T)
torture-sweep: ## every single allocation fails in turn
	@scripts/deps.sh build test
	@BUILD=$(BUILD) WEIR_SWEEP=all exec $(PYTHON) scripts/test.py --modes $(MODE) --only e2e -- \
	    tests/e2e/test_alloc_sweep.py $(T)

# ---- style -------------------------------------------------------------------------------------

CLANG_FORMAT ?= clang-format
CLANG_TIDY   ?= clang-tidy
STYLED        = $(wildcard $(addsuffix /*.[ch],proxy proxy/base proxy/watch proxy/net proxy/http \
                           proxy/upstream proxy/discovery proxy/trace proxy/metrics balancer \
                           config backends bench bench/micro bench/sim tests/unit tests/fuzz \
                           tests/faults))

.PHONY: lint lint-tree format format-check
lint: lint-tree compile_commands.json ## the tree's own rules, clang-tidy, shellcheck
	@scripts/tidy.sh $(CLANG_TIDY) $(ALL_SRC) $(FAULTS_SRC)

.PHONY: reload-load
reload-load: all bench-tools ## a thousand reloads under load: nobody notices, and nothing piles up
	@WEIR_RELOADS=1000 $(PYTHON) -m pytest -q -s tests/e2e/test_reload_load.py

.PHONY: upgrade-load
upgrade-load: all ## a hundred binary upgrades under load: no request fails, none is refused
	@WEIR_UPGRADES=100 $(PYTHON) -m pytest -q -s tests/e2e/test_binary_upgrade.py -k under_load

lint-tree: # what needs no other program: include arrows, file heads, foreign paths
	@$(PYTHON) tests/lint/tree.py .

format: ## clang-format every C file in place
	$(CLANG_FORMAT) -i $(STYLED)

format-check: ## fail if `make format` would change anything
	@scripts/format-check.sh $(CLANG_FORMAT) $(STYLED)

# For clang-tidy and for editors.
compile_commands.json: FORCE
	@scripts/compile-commands.sh '$(CURDIR)' '$(subst ','\'',$(COMPILE))' $(ALL_SRC) $(FAULTS_SRC) >$@

# ---- install -----------------------------------------------------------------------------------

# The folders are yours to change, each by its name; all lie below DESTDIR.
INSTALL    ?= install
BINDIR     ?= $(PREFIX)/bin
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),,$(PREFIX))/etc
MANDIR     ?= $(PREFIX)/share/man
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
EXAMPLEDIR ?= $(PREFIX)/share/doc/weir/examples
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERDIR ?= $(PREFIX)/lib/sysusers.d
ROTATEDIR  ?= $(SYSCONFDIR)/logrotate.d
SHAREDIR   ?= $(PREFIX)/share/weir

MAN_YAML := $(OUT)/weir.yaml.5
EXAMPLES := $(addprefix config/,full.yaml minimal.yaml sidecar.yaml weir.yaml)

$(MAN_YAML): $(OUT)/weir
	@$< schema --man >$@.$$$$ && mv -f $@.$$$$ $@

.PHONY: install uninstall
install: $(OUT)/weir $(MAN_YAML) ## below PREFIX (/usr/local), all of it below DESTDIR if that is set
	$(call put,755,$(BINDIR)/weir,$(OUT)/weir)
	$(call put,644,$(MANDIR)/man1/weir.1,docs/weir.1)
	$(call put,644,$(MANDIR)/man5/weir.yaml.5,$(MAN_YAML))
	$(call put,644,$(BASHDIR)/weir,completions/weir.bash)
	$(call put,644,$(ZSHDIR)/_weir,completions/_weir)
	$(call put,644,$(SYSUSERDIR)/weir.conf,packaging/weir.sysusers)
	$(call put,644,$(ROTATEDIR)/weir,packaging/weir.logrotate)
	$(call put,644,$(SHAREDIR)/prometheus/weir.rules.yaml,packaging/prometheus/weir.rules.yaml)
	$(call put,644,$(SHAREDIR)/grafana/weir.json,packaging/grafana/weir.json)
	$(call put,644,$(UNITDIR)/weir.service,packaging/weir.service)
	sed -i 's,@BINDIR@,$(BINDIR),; s,@SYSCONFDIR@,$(SYSCONFDIR),' $(call below,$(UNITDIR)/weir.service)
	$(INSTALL) -d -m 755 $(call below,$(EXAMPLEDIR))
	$(INSTALL) -m 644 $(EXAMPLES) $(call below,$(EXAMPLEDIR))
	[ -e $(CONFFILE) ] || $(call put,644,$(SYSCONFDIR)/weir/weir.yaml,packaging/weir.yaml)

# $(call put,MODE,PATH,FILE): the folder too.
put = $(INSTALL) -D -m $(1) $(3) $(call below,$(2))
# $(call below,PATHS): each of them as one word of the shell's, whatever is in DESTDIR.
below = $(foreach path,$(1),'$(DESTDIR)$(path)')
# Yours once it is there: never written over, and removed only if it is as it came.
CONFFILE = $(call below,$(SYSCONFDIR)/weir/weir.yaml)

uninstall: ## remove exactly what install put there, but a configuration that was changed
	rm -f $(call below,$(BINDIR)/weir $(MANDIR)/man1/weir.1 $(MANDIR)/man5/weir.yaml.5 \
	    $(BASHDIR)/weir $(ZSHDIR)/_weir $(SYSUSERDIR)/weir.conf $(UNITDIR)/weir.service \
	    $(ROTATEDIR)/weir $(SHAREDIR)/prometheus/weir.rules.yaml $(SHAREDIR)/grafana/weir.json \
	    $(addprefix $(EXAMPLEDIR)/,$(notdir $(EXAMPLES))))
	! cmp -s packaging/weir.yaml $(CONFFILE) || rm -f $(CONFFILE)
	-@rmdir $(call below,$(EXAMPLEDIR) $(dir $(EXAMPLEDIR)) $(SHAREDIR)/prometheus $(SHAREDIR)/grafana \
	    $(SHAREDIR) $(ROTATEDIR) $(SYSCONFDIR)/weir) 2>/dev/null

# ---- releases ----------------------------------------------------------------------------------

RELEASE := weir-$(VERSION)
TARBALL := $(BUILD)/$(RELEASE).tar.gz

.PHONY: dist deb image
image: ## container images weir, hello and world; BASE=debian:13 where a registry can be reached
	@scripts/deps.sh image
	@scripts/image.sh $(VERSION)
dist: ## the release tarball of the last commit, build/weir-VERSION.tar.gz; the same commit, the same bytes
	@scripts/dist.sh $(RELEASE) $(TARBALL) && ls $(TARBALL)
deb: ## a Debian package of it, build/deb/weir_*.deb, judged by lintian
	@scripts/deps.sh build package
	@$(MAKE) --no-print-directory dist
	@scripts/deb.sh $(TARBALL) $(BUILD)/deb && ls $(BUILD)/deb/*.deb

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BUILD) compile_commands.json

.PHONY: help
help: ## this list
	@echo 'make TARGET [MODE=release|debug|asan|tsan] [CC=clang] [PREFIX=/usr/local] [DESTDIR=]'
	@sed -n 's/^\([a-z][a-z0-9 -]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | awk -F'|' '{ printf "  %-26s %s\n", $$1, $$2 }'
